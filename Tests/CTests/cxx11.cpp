// The header from C++11: a loss, and the inline helpers.
#include "check.h"

#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

static_assert(std::is_standard_layout<segloss_tensor>::value && std::is_trivial<segloss_tensor>::value, "plain memory");
static_assert(sizeof(segloss_tensor) == 128 && sizeof(segloss_error) == 512, "sizes that callers have compiled in");

// What dlpack.h declares, for a caller who has it.
struct DLTensor {
  void *data;
  struct { int32_t device_type, device_id; } device;
  int32_t ndim;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

static segloss_tensor from(const DLTensor &t) {
  return segloss_from_dlpack(t.data, t.device.device_type, t.device.device_id, t.ndim, t.dtype.code, t.dtype.bits,
                             t.dtype.lanes, t.shape, t.strides, t.byte_offset);
}

static void from_dlpack() {
  float memory[24];
  int64_t shape[8] = {2, 3, 4, 9, 9, 9, 9, 9}, strides[8] = {-12, 4, 1, 8, 8, 8, 8, 8};
  DLTensor source = {memory, {SEGLOSS_DEVICE_CPU, 7}, 3, {SEGLOSS_TYPE_FLOAT, 32, 1}, shape, nullptr, 0};

  segloss_tensor dense = from(source);
  CHECK(dense.data == memory && dense.device_type == SEGLOSS_DEVICE_CPU && dense.device_id == 7, "memory and device");
  CHECK(dense.type_code == SEGLOSS_TYPE_FLOAT && dense.type_bits == 32 && dense.type_lanes == 1, "type");
  CHECK(dense.rank == 3 && dense.shape[0] == 2 && dense.shape[1] == 3 && dense.shape[2] == 4, "shape");
  CHECK(dense.shape[3] == 0 && dense.shape[5] == 0 && dense.reserved == 0, "nothing beyond the rank");
  CHECK(dense.flags == SEGLOSS_DENSE, "no strides: dense");

  source.strides = strides;
  source.byte_offset = 48;
  segloss_tensor view = from(source);
  CHECK(view.flags == 0 && view.strides[0] == -12 && view.strides[1] == 4 && view.strides[2] == 1, "strides");
  CHECK(view.strides[3] == 0, "nothing beyond the rank");
  CHECK(view.data == memory + 12, "byte_offset");

  source.data = nullptr;
  CHECK(from(source).data == nullptr, "NULL stays NULL, whatever the offset");
  for (int32_t rank : {-1, 0, 6, 7, 8}) { // kept, and no more than six extents copied
    source.ndim = rank;
    segloss_tensor t = from(source);
    CHECK(t.rank == rank && t.shape[5] == (rank >= 6 ? 9 : 0), "rank %d", rank);
  }
}

static void defaults() {
  segloss_execution execution = segloss_execution_default();
  CHECK(execution.struct_size == sizeof execution && execution.threads == 0, "execution");
  CHECK(execution.non_finite == SEGLOSS_PROPAGATE && execution.reserved == 0, "execution");
  CHECK(segloss_mask_dice_options_default().struct_size == sizeof(segloss_mask_dice_options), "size");
  CHECK(segloss_mask_dice_options_default().eps == 1e-6, "eps");
  CHECK(segloss_mask_l1_options_default().struct_size == sizeof(segloss_mask_l1_options), "size");
  CHECK(segloss_mask_l1_options_default().eps == 1e-6, "eps");
  segloss_balance_options balance = segloss_balance_options_default();
  CHECK(balance.struct_size == sizeof balance && balance.main_loss == SEGLOSS_MAIN_DICE, "balance");
  CHECK(balance.balance_loss == 1 && balance.bce_form == SEGLOSS_BCE_PADDLE && !balance.truncate_weights, "balance");
  CHECK(!balance.clean && balance.negative_ratio == 3 && balance.eps == 1e-6, "balance");
  CHECK(balance.fallback_negative_num == 0, "balance");
  for (int32_t variant : {SEGLOSS_DB_PUBLISHED, SEGLOSS_DB_WENMUZHOU, SEGLOSS_DB_PAPER}) {
    bool published = variant == SEGLOSS_DB_PUBLISHED;
    segloss_db_options db = segloss_db_options_default(variant);
    CHECK(db.struct_size == sizeof db && db.variant == variant && db.balance_loss == 1, "variant %d", variant);
    CHECK(db.main_loss == (published ? SEGLOSS_MAIN_DICE : SEGLOSS_MAIN_BCE), "variant %d", variant);
    CHECK(db.alpha == (published ? 5 : 1) && db.beta == 10 && db.negative_ratio == 3, "variant %d", variant);
    CHECK(db.eps == 1e-6 && db.step_k == 50 && db.fallback_negative_num == 0, "variant %d", variant);
  }
  segloss_l1_balance_ce_options liao = segloss_l1_balance_ce_options_default();
  CHECK(liao.struct_size == sizeof liao && liao.eps == 1e-6 && liao.l1_scale == 10, "l1_balance_ce");
  CHECK(liao.bce_scale == 5 && liao.negative_ratio == 3, "l1_balance_ce");
  segloss_db_step_options step = segloss_db_step_options_default();
  CHECK(step.struct_size == sizeof step && step.k == 50, "db_step");
}

static void a_loss() {
  std::vector<float> pred = {.9f, .2f, .8f, .1f}, grad(4);
  std::vector<uint8_t> gt = {1, 0, 1, 0}, mask = {1, 1, 1, 0};
  const int64_t shape[] = {2, 2};
  auto floats = [&](std::vector<float> &v) {
    return segloss_from_dlpack(v.data(), SEGLOSS_DEVICE_CPU, 0, 2, SEGLOSS_TYPE_FLOAT, 32, 1, shape, nullptr, 0);
  };
  auto bytes = [&](std::vector<uint8_t> &v) {
    return segloss_from_dlpack(v.data(), SEGLOSS_DEVICE_CPU, 0, 2, SEGLOSS_TYPE_UINT, 8, 1, shape, nullptr, 0);
  };
  segloss_tensor p = floats(pred), g = bytes(gt), m = bytes(mask), out = floats(grad);
  segloss_mask_dice_parts parts = {sizeof parts, 0, 0, 0, 0};
  segloss_error error;
  int32_t status = segloss_mask_dice(&p, &g, &m, nullptr, nullptr, 1, &parts, &out, nullptr, &error);
  double i = pred[0] + pred[2], u = i + pred[1] + 2 + 1e-6; // the last element is masked
  CHECK(status == SEGLOSS_OK, "%s", error.message);
  CHECK(std::fabs(parts.loss - (1 - 2 * i / u)) < 1e-7, "%g", parts.loss);
  CHECK(std::fabs(parts.intersection - i) < 1e-6 && std::fabs(parts.union_ - u) < 1e-6, "parts");
  CHECK(std::fabs(grad[0] - -2 * (u - i) / (u * u)) < 1e-7 && std::fabs(grad[1] - 2 * i / (u * u)) < 1e-7, "gradient");
  CHECK(grad[3] == 0, "the gradient of a masked element");

  status = segloss_mask_dice(&p, &g, nullptr, nullptr, nullptr, 1, &parts, &out, nullptr, &error);
  CHECK(status == SEGLOSS_NULL_POINTER && error.status == status, "%s", segloss_status_name(status));
  CHECK(std::strncmp(error.message, "mask:", 5) == 0, "%s", error.message);
}

int main() {
  from_dlpack();
  defaults();
  a_loss();
  return report("cxx11");
}
