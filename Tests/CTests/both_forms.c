/* Each loss from C: in one call and in two halves, over shards of a batch, in place, and against golden values. */
#include "cases.h"

/* ---- One call, two halves, in place: the same bits ---- */

static void in_one_and_in_two(const test_case *c, int type, int label_type, int64_t n, int64_t h, int64_t w,
                              int is_soft) {
  problem one, two;
  char what[160];
  int i, k;
  sprintf(what, "%s, %s with %s%s, %dx%dx%d", c->name, types[type].name, types[label_type].name,
          is_soft ? ", soft" : "", (int)n, (int)h, (int)w);
  make_problem(&one, c, type, label_type, n, h, w, is_soft, 1, place_by_malloc, NULL);
  make_problem(&two, c, type, label_type, n, h, w, is_soft, 1, place_by_malloc, NULL);
  CHECK(c->entry->run(&one.a) == SEGLOSS_OK, "%s: %s", what, one.error.message);
  CHECK(one.error.status == SEGLOSS_OK && one.error.message[0] == 0, "%s: the error of a good call", what);
  CHECK(run_in_two(&two) == SEGLOSS_OK, "%s: %s", what, two.error.message);
  CHECK(same_results(&one, &two), "%s", what);
  if (c->entry->parts_size) CHECK(isfinite(one.parts.numbers[1]), "%s: loss %g", what, one.parts.numbers[1]);

  /* Each output alone. */
  for (i = 0; i < MAX_OUTPUTS && has_output(c, 1); ++i) {
    fill_outputs(&two);
    for (k = 0; k < MAX_OUTPUTS; ++k) two.a.outputs[k] = has_output(c, k) && k == i ? &two.outputs[k] : NULL;
    CHECK(c->entry->run(&two.a) == SEGLOSS_OK, "%s, output %d alone: %s", what, i, two.error.message);
    CHECK(same_results(&one, &two), "%s, output %d alone", what, i);
  }

  /* Value alone, without an error struct. */
  if (c->entry->parts_size) {
    fill_outputs(&two);
    for (k = 0; k < MAX_OUTPUTS; ++k) two.a.outputs[k] = NULL;
    two.a.error = NULL;
    CHECK(c->entry->run(&two.a) == SEGLOSS_OK && same_parts(&one, &two), "%s, value alone", what);
    two.a.parts = NULL;
    CHECK(c->entry->run(&two.a) == SEGLOSS_OK, "%s, nothing at all", what);
    two.a.error = &two.error;
    two.a.parts = &two.parts;
  }

  /* Each gradient in its prediction's memory, and without parts. */
  if (c->entry->predictions) {
    problem in_place = two;
    for (i = 0; i < MAX_OUTPUTS; ++i) {
      if (!has_output(c, i)) continue;
      in_place.outputs[i].data = two.inputs[i].data;
      in_place.a.outputs[i] = &in_place.outputs[i];
    }
    for (i = 0; i < MAX_INPUTS; ++i)
      if (!is_absent(c, i) && i < input_count(c)) in_place.a.inputs[i] = &in_place.inputs[i];
    in_place.a.parts = NULL;
    memcpy(in_place.statistics, two.statistics, sizeof two.statistics);
    CHECK(c->entry->run(&in_place.a) == SEGLOSS_OK, "%s, in place: %s", what, two.error.message);
    for (i = 0; i < MAX_OUTPUTS; ++i)
      if (has_output(c, i)) CHECK(same_elements(&one.outputs[i], &in_place.outputs[i]), "%s, in place, %d", what, i);
  }
  free_problem(&one);
  free_problem(&two);
}

/* ---- Statistics of shards, added ---- */

enum { IMAGES = 5, SHARDS = 2, HEIGHT = 23, WIDTH = 67 };

/* Makes `shard` a view of images first ... first+count-1 of `whole`, with outputs of its own. */
static void make_shard(problem *shard, const problem *whole, int first, int count) {
  int i;
  *shard = *whole;
  for (i = 0; i < MAX_INPUTS + MAX_OUTPUTS; ++i) {
    int is_input = i < MAX_INPUTS, k = is_input ? i : i - MAX_INPUTS;
    segloss_tensor *t = is_input ? &shard->inputs[k] : &shard->outputs[k];
    if (!t->data) continue;
    t->data = element(is_input ? &whole->inputs[k] : &whole->outputs[k], (int64_t)first * HEIGHT * WIDTH);
    t->shape[0] = count;
    if (is_input) shard->a.inputs[k] = t;
    else shard->a.outputs[k] = t;
  }
  shard->a.parts = &shard->parts;
  shard->a.statistics = shard->statistics;
  shard->a.error = &shard->error;
}

static int is_close(double a, double b, double bound, double scale) { return fabs(a - b) <= bound * scale; }

enum { GOLDEN = 84 };

static void in_shards(const test_case *c, int type, int is_soft, double bound) {
  static const int first[SHARDS] = {0, 3}, count[SHARDS] = {3, 2};
  problem whole, copy, shard[SHARDS];
  double total[MAX_STATISTICS] = {0};
  int adds = c->adds == ALWAYS || (c->adds == LABELS_OF_0_AND_1 && !is_soft);
  int s, i, n = (int)(c->entry->parts_size / 8);
  int64_t k;
  char what[120];
  sprintf(what, "%s, %s%s", c->name, types[type].name, is_soft ? ", soft" : "");
  make_problem(&whole, c, type, type, IMAGES, HEIGHT, WIDTH, is_soft, 7, place_by_malloc, NULL);
  make_problem(&copy, c, type, type, IMAGES, HEIGHT, WIDTH, is_soft, 7, place_by_malloc, NULL);
  CHECK(c->entry->run(&whole.a) == SEGLOSS_OK, "%s: %s", what, whole.error.message);
  for (s = 0; s < SHARDS; ++s) {
    make_shard(&shard[s], &copy, first[s], count[s]);
    CHECK(c->entry->statistics(&shard[s].a) == SEGLOSS_OK, "%s: %s", what, shard[s].error.message);
    for (i = 0; i < c->length; ++i) total[i] += shard[s].statistics[i];
  }
  for (s = 0; s < SHARDS; ++s) {
    int32_t status;
    memcpy(shard[s].statistics, total, sizeof total);
    status = c->entry->finish(&shard[s].a);
    if (!adds) {
      CHECK(status == SEGLOSS_STATISTICS, "%s: added statistics gave %s", what, segloss_status_name(status));
      CHECK(shard[s].error.status == status && strstr(shard[s].error.message, "statistics: ") == shard[s].error.message,
            "%s: %s", what, shard[s].error.message);
      CHECK(memcmp((char *)&shard[s].parts + 8, (char *)&copy.parts + 8, c->entry->parts_size - 8) == 0,
            "%s: parts were written", what);
      continue;
    }
    CHECK(status == SEGLOSS_OK, "%s: %s", what, shard[s].error.message);
    for (i = 1; i < n; ++i) { /* numbers[0] holds struct_size and reserved */
      double want = whole.parts.numbers[i], got = shard[s].parts.numbers[i];
      CHECK((want != want && got != got) || is_close(got, want, bound, fmax(fabs(want), 1e-3)),
            "%s, part %d: %.17g, whole batch %.17g", what, i, got, want);
    }
  }
  for (i = 0; i < MAX_OUTPUTS; ++i) {
    double largest = 0, worst = 0;
    if (!has_output(c, i)) continue;
    if (!adds) {
      for (k = 0; k < count_of(&copy.outputs[i]) * (int64_t)size_of(type); ++k)
        if (((unsigned char *)copy.outputs[i].data)[k] != UNTOUCHED) break;
      CHECK(k == count_of(&copy.outputs[i]) * (int64_t)size_of(type), "%s: gradient %d was written", what, i);
      continue;
    }
    for (k = 0; k < count_of(&whole.outputs[i]); ++k) {
      double want = get(element(&whole.outputs[i], k), type), got = get(element(&copy.outputs[i], k), type);
      largest = fmax(largest, fabs(want));
      worst = fmax(worst, fabs(want - got));
    }
    CHECK(worst <= bound * largest && largest > 0, "%s, gradient %d: off by %g of %g", what, i, worst, largest);
  }
  free_problem(&whole);
  free_problem(&copy);
}

/* A perfect prediction, where L1 is 0: such statistics add like any others. */
static void perfect_shards(void) {
  static double map[GOLDEN], ones[GOLDEN], gradient[GOLDEN];
  static const int64_t shape[1] = {GOLDEN};
  double statistics[SEGLOSS_BALANCE_STATISTICS];
  segloss_tensor pred = segloss_from_dlpack(map, SEGLOSS_DEVICE_CPU, 0, 1, SEGLOSS_TYPE_FLOAT, 64, 1, shape, NULL, 0);
  segloss_tensor mask = pred, grad_pred = pred;
  segloss_balance_options o = segloss_balance_options_default();
  segloss_balance_parts parts = {sizeof parts, 0, 0, 0, 0, 0};
  segloss_error error;
  int k;
  mask.data = ones, grad_pred.data = gradient;
  for (k = 0; k < GOLDEN; ++k) map[k] = k % 3 == 0, ones[k] = 1, gradient[k] = NAN;
  o.main_loss = SEGLOSS_MAIN_MASK_L1;
  CHECK(segloss_balance_statistics(&pred, &pred, &mask, &o, statistics, SEGLOSS_BALANCE_STATISTICS, NULL, &error) == 0,
        "%s", error.message);
  for (k = 0; k < SEGLOSS_BALANCE_STATISTICS; ++k) statistics[k] *= 2; /* the same batch twice */
  CHECK(segloss_balance_finish(&pred, &pred, &mask, &o, statistics, SEGLOSS_BALANCE_STATISTICS, 1, &parts, &grad_pred,
                               NULL, &error) == 0, "%s", error.message);
  CHECK(parts.loss == 0 && gradient[0] == 0 && gradient[1] == 0, "%g, gradient %g %g", parts.loss, gradient[0], gradient[1]);
}

/* ---- Golden values: 2 x 1 x 6 x 7 from closed forms, float64 ---- */

static double p[GOLDEN], y[GOLDEN], m[GOLDEN], t[GOLDEN], t_star[GOLDEN], m_t[GOLDEN], b[GOLDEN], y_soft[GOLDEN];
static double grad[MAX_OUTPUTS][GOLDEN];

static segloss_tensor golden_tensor(double *values, int rank) {
  static const int64_t shape4[4] = {2, 1, 6, 7}, shape3[3] = {2, 6, 7};
  return segloss_from_dlpack(values, SEGLOSS_DEVICE_CPU, 0, rank, SEGLOSS_TYPE_FLOAT, 64, 1,
                             rank == 4 ? shape4 : shape3, NULL, 0);
}

/* `got` is the printed number to 1e-9, or to half a unit of its last digit where fewer were printed. */
static void check_printed(double got, const char *printed, const char *what) {
  const char *point = strchr(printed, '.');
  double want = atof(printed), half_unit = point ? 0.5 * pow(10, -(double)strlen(point + 1)) : 0;
  if (!*printed) return;
  CHECK(fabs(got - want) <= fmax(1e-9 * fabs(want), half_unit * (1 + 1e-9)), "%s: %.12g is not %s", what, got, printed);
}

/* Sum, sum of magnitudes, entries 0 and 17. */
static void check_gradient(const double *g, const char *sum, const char *magnitudes, const char *g0, const char *g17,
                           const char *what) {
  double total = 0, absolute = 0;
  int k;
  for (k = 0; k < GOLDEN; ++k) {
    total += g[k];
    absolute += fabs(g[k]);
  }
  check_printed(total, sum, what);
  check_printed(absolute, magnitudes, what);
  check_printed(g[0], g0, what);
  check_printed(g[17], g17, what);
}

static void make_golden_inputs(void) {
  segloss_tensor prob = golden_tensor(p, 4), thresh = golden_tensor(t, 4), out = golden_tensor(b, 4);
  int k;
  for (k = 0; k < GOLDEN; ++k) {
    p[k] = 1 / (1 + exp(-3 * sin(.37 * k + .5)));
    y[k] = (k * k + 3 * k) % 11 < 4;
    m[k] = k % 9 != 4;
    t[k] = .5 + .4 * cos(.21 * k);
    t_star[k] = .3 + .1 * (k % 5);
    m_t[k] = k % 4 != 1;
    y_soft[k] = .05 + .09 * (7 * k % 10);
  }
  CHECK(segloss_db_step(&prob, &thresh, NULL, &out, NULL, NULL) == SEGLOSS_OK, "db_step");
  for (k = 0; k < GOLDEN; ++k)
    CHECK(is_close(b[k], 1 / (1 + exp(-50 * (p[k] - t[k]))), 1e-12, 1), "db_step at %d: %.17g", k, b[k]);
}

static void golden_singles(void) {
  static const struct {
    const char *name;
    int main_loss, clean;
    double ratio;
    double *labels;
    const char *loss, *sum, *magnitudes, *g0, *g17;
  } rows[] = {
      {"Balance Dice r3", SEGLOSS_MAIN_DICE, 0, 3, y, ".746949359264", "-.175778973", ".777326184", "-.0340394699",
       ".00493071485"},
      {"Balance BCE r3", SEGLOSS_MAIN_BCE, 0, 3, y, "1.59691504674", "4.94146897", "8.20816442", "-.022095293",
       ".0944564486"},
      {"Balance BCE r1", SEGLOSS_MAIN_BCE, 0, 1, y, "2.05687203353", "5.66212923", "12.19552", "-.0441905851", "0"},
      {"Dice-OHEM r3", SEGLOSS_MAIN_DICE_OHEM, 0, 3, y, ".732144786484", "-.301275147", ".699041243", "-.0357255853",
       ".00552452911"},
      {"Dice-OHEM r3 clean", SEGLOSS_MAIN_DICE_OHEM, 1, 3, y, ".738829221367", "-.268964605", ".710152423",
       "-.0349684653", ".00525223593"},
      {"Dice-OHEM r1", SEGLOSS_MAIN_DICE_OHEM, 0, 1, y, ".603056613603", "-.528239547", ".843685927", "-.0489973384",
       "0"},
      {"Balance BCE soft r.5", SEGLOSS_MAIN_BCE, 0, .5, y_soft, "1.31166854376", "1.76448519", "6.04292564", "", ""},
      {"Balance Dice soft r3", SEGLOSS_MAIN_DICE, 0, 3, y_soft, ".463879137123", "-.395294826", "", "", ""},
  };
  segloss_tensor pred = golden_tensor(p, 3), gt = golden_tensor(y, 3), mask = golden_tensor(m, 3);
  segloss_tensor g = golden_tensor(grad[0], 3);
  segloss_error error;
  size_t i;

  segloss_mask_dice_parts dice = {sizeof dice, 0, 0, 0, 0};
  CHECK(segloss_mask_dice(&pred, &gt, &mask, NULL, NULL, 1, &dice, &g, NULL, &error) == 0, "%s", error.message);
  check_printed(dice.loss, ".746949372602", "DB Dice");
  check_gradient(grad[0], "-.175778976", ".777326198", "-.0340394705", ".00493071494", "DB Dice");

  for (i = 0; i < sizeof rows / sizeof *rows; ++i) {
    segloss_balance_options o = segloss_balance_options_default();
    segloss_balance_parts parts = {sizeof parts, 0, 0, 0, 0, 0};
    int rank = rows[i].clean ? 4 : 3; /* a unit channel makes no difference */
    pred = golden_tensor(p, rank), gt = golden_tensor(rows[i].labels, rank), mask = golden_tensor(m, rank);
    g = golden_tensor(grad[0], rank);
    o.main_loss = rows[i].main_loss;
    o.clean = rows[i].clean;
    o.negative_ratio = rows[i].ratio;
    CHECK(segloss_balance(&pred, &gt, &mask, &o, 1, &parts, &g, NULL, &error) == 0, "%s", error.message);
    check_printed(parts.loss, rows[i].loss, rows[i].name);
    check_gradient(grad[0], rows[i].sum, rows[i].magnitudes, rows[i].g0, rows[i].g17, rows[i].name);
  }

  g = golden_tensor(grad[0], 3);
  {
    segloss_tensor thresh = golden_tensor(t, 3), map = golden_tensor(t_star, 3), map_mask = golden_tensor(m_t, 3);
    segloss_mask_l1_parts parts = {sizeof parts, 0, 0, 0};
    CHECK(segloss_mask_l1(&thresh, &map, &map_mask, NULL, 1, &parts, &g, NULL, &error) == 0, "%s", error.message);
    check_printed(parts.loss, ".252016558619", "Masked L1");
    check_printed(parts.count, "63", "Masked L1 count");
    check_gradient(grad[0], "-.111111109", ".999999984", ".0158730156", "0", "Masked L1");
  }
}

/* Sends the gradient of B on into those of P and T. */
static void through_the_step(void) {
  static double by_prob[GOLDEN], by_thresh[GOLDEN];
  segloss_tensor prob = golden_tensor(p, 4), thresh = golden_tensor(t, 4), g = golden_tensor(grad[2], 4);
  segloss_tensor out_p = golden_tensor(by_prob, 4), out_t = golden_tensor(by_thresh, 4);
  int k;
  CHECK(segloss_db_step_backward(&prob, &thresh, &g, NULL, &out_p, &out_t, NULL, NULL) == SEGLOSS_OK, "step");
  for (k = 0; k < GOLDEN; ++k) {
    grad[0][k] += by_prob[k];
    grad[1][k] += by_thresh[k];
  }
}

static void golden_sums(void) {
  segloss_tensor prob = golden_tensor(p, 4), thresh = golden_tensor(t, 4), binary = golden_tensor(b, 4);
  segloss_tensor gt = golden_tensor(y, 3), mask = golden_tensor(m, 3);
  segloss_tensor map = golden_tensor(t_star, 3), map_mask = golden_tensor(m_t, 3);
  segloss_tensor g[MAX_OUTPUTS];
  segloss_db_parts db = {sizeof db, 0, 0, 0, 0, 0, 0, 0, 0};
  segloss_l1_balance_ce_parts liao = {sizeof liao, 0, 0, 0, 0, 0, 0, 0, 0};
  segloss_error error;
  int i;
  for (i = 0; i < MAX_OUTPUTS; ++i) g[i] = golden_tensor(grad[i], 4);

  CHECK(segloss_db(&prob, &thresh, &binary, &map, &map_mask, &gt, &mask, NULL, 1, &db, &g[0], &g[1], &g[2], NULL,
                   &error) == 0, "%s", error.message);
  check_printed(db.loss, "7.0481189038", "Paddle");
  CHECK(is_close(db.loss_shrink_maps + db.loss_threshold_maps + db.loss_binary_maps, db.loss, 1e-15, 10), "sum");
  CHECK(db.positives == 14 && db.negatives == 42 && db.threshold_count == 63, "%g positives, %g negatives, %g", db.positives,
        db.negatives, db.threshold_count);
  check_gradient(grad[0], "-.878894864", "3.88663092", "", "", "Paddle, P");
  check_gradient(grad[1], "-1.11111109", "9.99999984", "", "", "Paddle, T");
  check_gradient(grad[2], "-.238924055", ".721512704", "", "", "Paddle, B");
  through_the_step();
  check_gradient(grad[0], "-1.1700372", "4.67676892", "", "", "Paddle through the step, P");
  check_gradient(grad[1], "-.819968761", "10.3378911", "", "", "Paddle through the step, T");

  CHECK(segloss_l1_balance_ce(&prob, &thresh, &binary, &gt, &mask, &map, &map_mask, NULL, 1, &liao, &g[0], &g[1],
                              &g[2], NULL, &error) == 0, "%s", error.message);
  check_printed(liao.loss, "11.2979473812", "MhLiao");
  check_printed(liao.bce_loss, "1.59691504674", "MhLiao BCE");
  CHECK(is_close(5 * liao.bce_loss + 10 * liao.l1_loss + liao.dice_loss, liao.loss, 1e-15, 10), "sum");
  check_gradient(grad[0], "24.7073448", "41.0408221", "", "", "MhLiao, P");
  check_gradient(grad[1], "", "10", "", "", "MhLiao, T");
  check_gradient(grad[2], "-.238924055", ".721512704", "", "", "MhLiao, B");
  through_the_step();
  check_gradient(grad[0], "24.4162025", "41.8309601", "", "", "MhLiao through the step, P");
  check_gradient(grad[1], "", "10.3378912", "", "", "MhLiao through the step, T");
}

int main(void) {
  static const int predictions[] = {F32, F64, F16, BF16}, labels[] = {F32, U8, BOOL, I32, I64};
  static const int64_t shapes[][3] = {{1, 1, 1}, {2, 5, 13}, {3, 31, 43}};
  int i, type, k;
  size_t s;
  make_cases();
  for (i = 0; i < case_count; ++i) {
    const test_case *c = &cases[i];
    for (type = 0; type < 4; ++type)
      for (s = 0; s < sizeof shapes / sizeof *shapes; ++s) {
        const int64_t *x = shapes[s];
        in_one_and_in_two(c, predictions[type], predictions[type], x[0], x[1], x[2], 1);
        for (k = 0; k < 5; ++k) in_one_and_in_two(c, predictions[type], labels[k], x[0], x[1], x[2], 0);
      }
    in_one_and_in_two(c, F32, U8, 1, 515, 517, 0); /* enough for several threads */
    if (!c->entry->statistics) continue;
    for (k = 0; k < 2; ++k) {
      in_shards(c, F64, k, 1e-13);
      in_shards(c, F32, k, 1e-6);
    }
  }
  perfect_shards();
  make_golden_inputs();
  golden_singles();
  golden_sums();
  return report("both_forms");
}
