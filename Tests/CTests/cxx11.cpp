// The header from C++11: every loss once, and the inline helpers.
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

// Every loss that came after, on zeros (a prediction of one half, where they are logits) against 1, 0, 1, 0: by hand.
struct Zeros {
  std::vector<float> zeros = std::vector<float>(8), ones = std::vector<float>(8, 1.0f),
      gradient = std::vector<float>(8);
  std::vector<uint8_t> targets = {1, 0, 1, 0};
  segloss_tensor floats(std::vector<float> &v, std::vector<int64_t> shape) {
    return segloss_from_dlpack(v.data(), SEGLOSS_DEVICE_CPU, 0, int32_t(shape.size()), SEGLOSS_TYPE_FLOAT, 32, 1,
                               shape.data(), nullptr, 0);
  }
  segloss_tensor bytes(std::vector<int64_t> shape) {
    return segloss_from_dlpack(targets.data(), SEGLOSS_DEVICE_CPU, 0, int32_t(shape.size()), SEGLOSS_TYPE_UINT, 8, 1,
                               shape.data(), nullptr, 0);
  }
};

// `absent`: a nullptr for each input after the target.
template <class Parts, class Options, class Function, class... Absent>
static void run(const char *name, Function loss, const Options &o, const segloss_tensor &input,
                const segloss_tensor &target, const segloss_tensor &gradient, double want, Absent... absent) {
  Parts parts = Parts();
  segloss_error error;
  parts.struct_size = sizeof parts;
  int32_t status = loss(&input, &target, absent..., &o, 1, &parts, &gradient, nullptr, &error);
  CHECK(o.struct_size == sizeof o, "%s: the size of the options", name);
  CHECK(status == SEGLOSS_OK && error.status == SEGLOSS_OK, "%s: %s", name, error.message);
  CHECK(std::fabs(parts.loss - want) < 1e-6, "%s: %g, not %g", name, parts.loss, want);
}

#define RUN(loss, parts, ...) run<parts>(#loss, segloss_##loss, segloss_##loss##_options_default(), __VA_ARGS__)

static void every_loss() {
  const double ln2 = std::log(2.0), mean = 2.0 / (31 * 31), inner = 1 + 5 * (1 - mean), outer = 1 + 5 * mean;
  Zeros z;
  segloss_tensor x = z.floats(z.zeros, {2, 2}), y = z.bytes({2, 2}), g = z.floats(z.gradient, {2, 2});
  segloss_tensor image = z.floats(z.zeros, {1, 2, 2}), object = z.bytes({1, 2, 2}), slope = z.floats(z.gradient, {1, 2,
                                                                                                                  2});
  segloss_tensor labels = z.bytes({2});
  RUN(dice, segloss_overlap_parts, x, y, g, .4, nullptr);
  RUN(dice_bce, segloss_dice_bce_parts, x, y, g, .4 + ln2, nullptr);
  RUN(iou, segloss_overlap_parts, x, y, g, .5, nullptr);
  RUN(tversky, segloss_overlap_parts, x, y, g, 1. / 3, nullptr);
  RUN(focal_tversky, segloss_overlap_parts, x, y, g, 1. / 3, nullptr);
  RUN(bce, segloss_mean_parts, x, y, g, ln2, nullptr, nullptr);
  RUN(focal, segloss_focal_parts, x, y, g, .8 * .25 * ln2, nullptr, nullptr);
  RUN(smooth_l1, segloss_mean_parts, x, y, g, .25, nullptr, nullptr);
  RUN(cross_entropy, segloss_cross_entropy_parts, x, labels, g, ln2, nullptr, nullptr);
  RUN(active_contour, segloss_active_contour_parts, image, object, slope, .5); // too small to have a length

  segloss_tensor logits = z.floats(z.zeros, {1, 2, 2, 2}), slopes = z.floats(z.gradient, {1, 2, 2, 2});
  RUN(boundary, segloss_boundary_parts, logits, object, slopes, 1.); // a flat prediction has no boundary

  segloss_structure_parts structure = {sizeof structure, 0, 0, 0, 0, 0};
  segloss_structure_options kernel = segloss_structure_options_default();
  double level[SEGLOSS_STRUCTURE_LEVEL_PARTS];
  segloss_error error;
  int32_t status = segloss_structure(&image, 1, &object, &kernel, 1, &structure, level, &slope, nullptr, &error);
  double iou = (inner + outer) / (2 * inner + outer + 1); // TP = FN = inner, FP = outer: two pixels of one half each
  CHECK(status == SEGLOSS_OK, "%s", error.message);
  CHECK(std::fabs(structure.loss - ln2 - iou) < 1e-6 && std::fabs(level[2] - iou) < 1e-6, "%g", structure.loss);

  segloss_ctpn_parts ctpn = {sizeof ctpn, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  segloss_tensor box = z.floats(z.zeros, {2, 4}), one = z.floats(z.ones, {2, 4}), offsets = z.floats(z.gradient, {2,
                                                                                                                  4});
  segloss_ctpn_options anchors = segloss_ctpn_options_default(SEGLOSS_CTPN_PUBLISHED);
  status = segloss_ctpn(&x, &box, nullptr, &labels, &one, &one, &one, nullptr, nullptr, &anchors, 1, &ctpn, nullptr,
                        &offsets, nullptr, nullptr, &error);
  CHECK(status == SEGLOSS_OK, "%s", error.message);
  CHECK(std::fabs(ctpn.loss - (ln2 + 8 * (1 - 1. / 18) / 2)) < 1e-6, "%g", ctpn.loss);
  CHECK(std::fabs(z.gradient[3] + .5) < 1e-7, "%g", z.gradient[3]); // one of F + 1

  // A box where an anchor is: a positive without an offset, at the end of a line.
  std::vector<float> gt = {0, 3, 15, 12}, height = {11}, targets(16, -1.0f), side(4, -1.0f);
  std::vector<int32_t> classes(4, 7);
  const int64_t map[] = {1, 2, 2, 1}, maps[] = {1, 2, 2, 4};
  segloss_tensor boxes = z.floats(gt, {1, 4}), heights = z.floats(height, {1});
  segloss_tensor rpn_labels = segloss_from_dlpack(classes.data(), SEGLOSS_DEVICE_CPU, 0, 4, SEGLOSS_TYPE_INT, 32, 1,
                                                  map,
                                                  nullptr, 0);
  segloss_tensor bbox = segloss_from_dlpack(targets.data(), SEGLOSS_DEVICE_CPU, 0, 4, SEGLOSS_TYPE_FLOAT, 32, 1, maps,
                                            nullptr, 0);
  segloss_tensor ends = segloss_from_dlpack(side.data(), SEGLOSS_DEVICE_CPU, 0, 4, SEGLOSS_TYPE_FLOAT, 32, 1, map,
                                            nullptr, 0);
  segloss_ctpn_anchor_targets_options o = segloss_ctpn_anchor_targets_options_default(SEGLOSS_CTPN_PUBLISHED);
  segloss_mt19937 generator;
  segloss_mt19937_seed(&generator, 7);
  status = segloss_ctpn_anchor_targets(&boxes, nullptr, &heights, 32, 32, &o, &generator, &rpn_labels, &bbox, nullptr,
                                       nullptr, nullptr, &ends, &error);
  CHECK(status == SEGLOSS_OK, "%s", error.message);
  CHECK(classes[0] == 1 && classes[1] == 0 && classes[2] == 0 && classes[3] == 0, "%d %d %d %d", classes[0], classes[1],
        classes[2], classes[3]);
  CHECK(std::fabs(targets[0]) < 1e-6 && side[0] == 1 && side[1] == 0, "%g, side %g %g", targets[0], side[0], side[1]);
}

int main() {
  from_dlpack();
  defaults();
  a_loss();
  every_loss();
  return report("cxx11");
}
