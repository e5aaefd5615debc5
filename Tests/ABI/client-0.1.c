/* A program of version 0.1, as it was compiled then: this file and losses-0.1.h stay as they are, whatever comes. */
#include "losses-0.1.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void expect(double got, double wanted, const char *what) {
  if (fabs(got - wanted) <= 1e-6 * (1 + fabs(wanted))) return; /* the float32 path's bound */
  printf("%s: %.9g, expected %.9g\n", what, got, wanted);
  ++failures;
}

static void well(int32_t status, const segloss_error *error, const char *what) {
  if (status == SEGLOSS_OK) return;
  printf("%s: %s: %s\n", what, segloss_status_name(status), error->message);
  ++failures;
}

static segloss_tensor tensor(void *data, uint8_t code, uint8_t bits, int32_t rank, int64_t a, int64_t b, int64_t c,
                             int64_t d) {
  int64_t shape[4];
  shape[0] = a, shape[1] = b, shape[2] = c, shape[3] = d;
  return segloss_from_dlpack(data, SEGLOSS_DEVICE_CPU, 0, rank, code, bits, 1, shape, NULL, 0);
}

/* One call of a loss with the options and the parts of this version, and nothing but another's memory behind them. */
#define ONCE(name, wanted, options_type, defaults, parts_type, ...)                                                    \
  do {                                                                                                                 \
    struct {                                                                                                           \
      options_type its;                                                                                                \
      unsigned char behind[64];                                                                                        \
    } options;                                                                                                         \
    struct {                                                                                                           \
      parts_type its;                                                                                                  \
      unsigned char behind[64];                                                                                        \
    } parts;                                                                                                           \
    size_t i;                                                                                                          \
    memset(&options, 0xA5, sizeof options);                                                                            \
    memset(&parts, 0xA5, sizeof parts);                                                                                \
    options.its = defaults;                                                                                            \
    parts.its.struct_size = sizeof parts.its;                                                                          \
    well(segloss_##name(__VA_ARGS__), &error, #name);                                                                  \
    expect(parts.its.loss, wanted, #name);                                                                             \
    for (i = 0; i < sizeof parts.behind; ++i)                                                                          \
      if (parts.behind[i] != 0xA5) ++failures, printf("%s: written behind the parts\n", #name), i = sizeof parts;      \
  } while (0)
#define CALL(grad) &options.its, 1, &parts.its, grad, NULL, &error

int main(void) {
  float half[4] = {.5f, .5f, .5f, .5f}, zeros[4] = {0, 0, 0, 0}, ones[4] = {1, 1, 1, 1}, gradient[8], map[4];
  float logits[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  uint8_t labels[4] = {1, 0, 0, 1};
  double numbers[2] = {2, 2};
  segloss_tensor p = tensor(half, SEGLOSS_TYPE_FLOAT, 32, 3, 1, 2, 2, 0), g = p, y = p, o = p, m = p, x, l, z;
  segloss_error error;
  segloss_execution execution = segloss_execution_default();
  z = p, z.data = zeros;
  m.data = ones;
  g.data = gradient;
  o.data = map;
  y = tensor(labels, SEGLOSS_TYPE_UINT, 8, 3, 1, 2, 2, 0);
  execution.threads = 2;
  { /* options with nothing but numbers; parts */
    struct {
      segloss_mask_dice_parts parts;
      double behind;
    } out;
    segloss_mask_dice_options options = segloss_mask_dice_options_default();
    options.eps = 1;
    memset(&out, 0xA5, sizeof out);
    out.parts.struct_size = sizeof out.parts;
    well(segloss_mask_dice(&p, &y, &m, NULL, &options, 1, &out.parts, &g, &execution, &error), &error, "mask_dice");
    expect(out.parts.loss, 1 - 2 * 1.0 / 5, "mask_dice");
    expect(out.parts.union_, 5, "mask_dice, U");
    expect(gradient[0], -2.0 * (5 - 1) / 25, "mask_dice, gradient");
    if (memcmp(&out.behind, "\xA5\xA5\xA5\xA5\xA5\xA5\xA5\xA5", 8)) ++failures, printf("written behind the parts\n");
  }
  { /* options that point to others, and to numbers */
    segloss_bce_options options = segloss_bce_options_default();
    segloss_classes classes = segloss_classes_default();
    segloss_mean_parts parts;
    double statistics[SEGLOSS_MEAN_STATISTICS];
    parts.struct_size = sizeof parts;
    classes.reduction = SEGLOSS_SUM;
    options.classes = &classes;
    options.pos_weight = numbers;
    options.pos_weight_length = 1;
    well(segloss_bce(&z, &y, NULL, NULL, &options, 1, &parts, &g, NULL, &error), &error, "bce");
    expect(parts.loss, 6 * log(2.0), "bce");
    expect(gradient[0], -1, "bce, gradient");
    well(segloss_bce_statistics(&z, &y, NULL, NULL, &options, statistics, SEGLOSS_MEAN_STATISTICS, NULL, &error), &error,
         "bce_statistics");
    well(segloss_bce_finish(&z, &y, NULL, NULL, &options, statistics, SEGLOSS_MEAN_STATISTICS, -2, &parts, &g, NULL,
                            &error),
         &error, "bce_finish");
    expect(gradient[1], -1, "bce_finish, gradient");
  }
  { /* a variant's defaults, several predictions, an enum's number */
    segloss_db_options options = segloss_db_options_default(SEGLOSS_DB_WENMUZHOU);
    segloss_db_parts parts;
    parts.struct_size = sizeof parts;
    well(segloss_db(&p, &p, &p, &p, &m, &y, &m, &options, 1, &parts, NULL, NULL, NULL, NULL, &error), &error, "db");
    expect(parts.loss_shrink_maps, log(2.0), "db, shrink");
    expect(parts.loss_threshold_maps, 0, "db, threshold");
    expect(parts.positives, 2, "db, positives");
  }
  { /* items */
    segloss_balance_options options = segloss_balance_options_default();
    options.main_loss = SEGLOSS_MAIN_BCE;
    well(segloss_balance_map(&p, &y, NULL, &options, &o, NULL, &error), &error, "balance_map");
    expect(map[3], log(2.0), "balance_map");
  }
  x = tensor(logits, SEGLOSS_TYPE_FLOAT, 32, 4, 1, 2, 2, 2);
  l = tensor(labels, SEGLOSS_TYPE_UINT, 8, 3, 1, 2, 2, 0);
  g = x, g.data = gradient;
  { /* classes */
    segloss_cross_entropy_parts parts;
    parts.struct_size = sizeof parts;
    well(segloss_cross_entropy(&x, &l, NULL, NULL, NULL, 1, &parts, &g, NULL, &error), &error, "cross_entropy");
    expect(parts.loss, log(2.0), "cross_entropy");
    expect(gradient[4], -.125, "cross_entropy, gradient");
  }
  /* every other loss */
  ONCE(mask_l1, .5, segloss_mask_l1_options, segloss_mask_l1_options_default(), segloss_mask_l1_parts, &p, &y, &m,
       CALL(NULL));
  ONCE(balance, .5, segloss_balance_options, segloss_balance_options_default(), segloss_balance_parts, &p, &y, &m,
       CALL(NULL));
  ONCE(l1_balance_ce, 5.5 + 5 * log(2.0), segloss_l1_balance_ce_options, segloss_l1_balance_ce_options_default(),
       segloss_l1_balance_ce_parts, &p, &p, &p, &y, &m, &y, &m, &options.its, 1, &parts.its, NULL, NULL, NULL, NULL,
       &error);
  ONCE(dice, .4, segloss_dice_options, segloss_dice_options_default(), segloss_overlap_parts, &z, &y, NULL, CALL(NULL));
  ONCE(iou, .5, segloss_iou_options, segloss_iou_options_default(), segloss_overlap_parts, &z, &y, NULL, CALL(NULL));
  ONCE(tversky, 1 / 3., segloss_tversky_options, segloss_tversky_options_default(), segloss_overlap_parts, &z, &y, NULL,
       CALL(NULL));
  ONCE(focal_tversky, 1 / 3., segloss_focal_tversky_options, segloss_focal_tversky_options_default(),
       segloss_overlap_parts, &z, &y, NULL, CALL(NULL));
  ONCE(dice_bce, .4 + log(2.0), segloss_dice_bce_options, segloss_dice_bce_options_default(), segloss_dice_bce_parts,
       &z, &y, NULL, CALL(NULL));
  ONCE(bce, log(2.0), segloss_bce_options, segloss_bce_options_default(), segloss_mean_parts, &z, &y, NULL, NULL,
       CALL(NULL));
  ONCE(focal, .2 * log(2.0), segloss_focal_options, segloss_focal_options_default(), segloss_focal_parts, &z, &y, NULL,
       NULL, CALL(NULL));
  ONCE(smooth_l1, .25, segloss_smooth_l1_options, segloss_smooth_l1_options_default(), segloss_mean_parts, &z, &y, NULL,
       NULL, CALL(NULL));
  ONCE(cross_entropy, log(2.0), segloss_cross_entropy_options, segloss_cross_entropy_options_default(),
       segloss_cross_entropy_parts, &x, &l, NULL, NULL, CALL(NULL));
  ONCE(boundary, 1, segloss_boundary_options, segloss_boundary_options_default(), segloss_boundary_parts, &x, &l,
       CALL(NULL));
  { /* maps of one channel */
    segloss_tensor p4 = tensor(half, SEGLOSS_TYPE_FLOAT, 32, 4, 1, 1, 2, 2), z4 = p4;
    segloss_tensor y4 = tensor(labels, SEGLOSS_TYPE_UINT, 8, 4, 1, 1, 2, 2);
    z4.data = zeros;
    ONCE(structure, 1.19351909368104, segloss_structure_options, segloss_structure_options_default(),
         segloss_structure_parts, &z4, 1, &y4, &options.its, 1, &parts.its, NULL, NULL, NULL, &error);
    ONCE(active_contour, .5, segloss_active_contour_options, segloss_active_contour_options_default(),
         segloss_active_contour_parts, &p4, &y4, CALL(NULL));
  }
  { /* anchors */
    float boxes[16], box[4] = {0, 0, 15, 10};
    int32_t found[10];
    segloss_tensor c = tensor(logits, SEGLOSS_TYPE_FLOAT, 32, 2, 4, 2, 0, 0);
    segloss_tensor b = tensor(boxes, SEGLOSS_TYPE_FLOAT, 32, 2, 4, 4, 0, 0);
    segloss_tensor a = tensor(labels, SEGLOSS_TYPE_UINT, 8, 1, 4, 0, 0, 0);
    segloss_tensor text = tensor(box, SEGLOSS_TYPE_FLOAT, 32, 2, 1, 4, 0, 0);
    segloss_tensor f = tensor(found, SEGLOSS_TYPE_INT, 32, 4, 1, 1, 1, 10);
    segloss_ctpn_anchor_targets_options of_targets = segloss_ctpn_anchor_targets_options_default(SEGLOSS_CTPN_PUBLISHED);
    memset(boxes, 0, sizeof boxes);
    ONCE(ctpn, log(2.0), segloss_ctpn_options, segloss_ctpn_options_default(SEGLOSS_CTPN_PUBLISHED), segloss_ctpn_parts,
         &c, &b, NULL, &a, &b, &b, &b, NULL, NULL, &options.its, 1, &parts.its, NULL, NULL, NULL, NULL, &error);
    well(segloss_ctpn_anchor_targets(&text, NULL, NULL, 300, 16, &of_targets, NULL, &f, NULL, NULL, NULL, NULL, NULL,
                                     &error),
         &error, "ctpn_anchor_targets");
  }
  {
    segloss_db_step_options options = segloss_db_step_options_default();
    well(segloss_db_step(&p, &p, &options, &o, NULL, &error), &error, "db_step");
    expect(map[0], .5, "db_step");
  }
  { /* what is refused */
    segloss_mask_l1_parts parts;
    parts.struct_size = sizeof parts - 8;
    if (segloss_mask_l1(&p, &y, &m, NULL, 1, &parts, NULL, NULL, &error) != SEGLOSS_STRUCT_SIZE || error.status != 15)
      ++failures, printf("parts that are too short were taken\n");
    x.device_type = 2;
    if (segloss_cross_entropy(&x, &l, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL) != SEGLOSS_DEVICE)
      ++failures, printf("a foreign device was taken\n");
  }
  printf("client of %d.%d, library %s: %d failures\n", SEGLOSS_VERSION_MAJOR, SEGLOSS_VERSION_MINOR, segloss_version(),
         failures);
  return failures != 0;
}
