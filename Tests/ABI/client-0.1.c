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
