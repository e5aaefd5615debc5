/* Each loss from C: in one call and in two halves, over shards of a batch, in place, and against golden values. */
#include "cases.h"

/* ---- One call, two halves, in place: the same bits ---- */

static void in_one_and_in_two(const test_case *c, int type, int label_type, int64_t n, int64_t h, int64_t w,
                              int is_soft) {
  problem one, two;
  char what[200];
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
      if (i < c->entry->predictions) in_place.outputs[i].data = two.inputs[i].data;
      in_place.a.outputs[i] = &in_place.outputs[i];
    }
    for (i = 0; i < MAX_INPUTS; ++i)
      if (!is_absent(c, i) && i < input_count(c)) in_place.a.inputs[i] = &in_place.inputs[i];
    in_place.a.parts = NULL;
    CHECK(c->entry->run(&in_place.a) == SEGLOSS_OK, "%s, in place: %s", what, two.error.message);
    for (i = 0; i < MAX_OUTPUTS; ++i)
      if (has_output(c, i)) CHECK(same_elements(&one.outputs[i], &in_place.outputs[i]), "%s, in place, %d", what, i);
  }
  free_problem(&one);
  free_problem(&two);
}

/* ---- Statistics of shards, added ---- */

enum { IMAGES = 6, SHARDS = 2, HEIGHT = 23, WIDTH = 67 };

/* Makes `shard` a view of images first ... first+count-1 of `whole`. */
static void make_shard(problem *shard, const problem *whole, int first, int count) {
  int i;
  *shard = *whole;
  shard->length = length_of(whole->c, count, HEIGHT);
  shard->statistics = calloc((size_t)shard->length, sizeof *shard->statistics);
  shard->a.length = shard->length;
  for (i = 0; i < MAX_INPUTS + MAX_OUTPUTS; ++i) {
    int is_input = i < MAX_INPUTS, k = is_input ? i : i - MAX_INPUTS;
    segloss_tensor *t = is_input ? &shard->inputs[k] : &shard->outputs[k];
    if (!t->data) continue;
    t->data = element(is_input ? &whole->inputs[k] : &whole->outputs[k], (int64_t)first * (count_of(t) / IMAGES));
    t->shape[0] = t->shape[0] / IMAGES * count;
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
  static const int first[SHARDS] = {0, 3}, count[SHARDS] = {3, 3};
  problem whole, copy, shard[SHARDS];
  double total[MAX_STATISTICS] = {0};
  int adds = c->adds == ALWAYS || c->adds == SIDE_BY_SIDE || (c->adds == LABELS_OF_0_AND_1 && !is_soft);
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
    for (i = 0; i < shard[s].length; ++i)
      if (c->adds == SIDE_BY_SIDE) total[first[s] * (whole.length / IMAGES) + i] = shard[s].statistics[i];
      else total[i] += shard[s].statistics[i];
  }
  if (c->adds == SIDE_BY_SIDE) {
    CHECK(c->entry->statistics(&whole.a) == SEGLOSS_OK, "%s: %s", what, whole.error.message);
    CHECK(memcmp(total, whole.statistics, (size_t)whole.length * sizeof *total) == 0, "%s: statistics of samples",
          what);
  }
  for (s = 0; s < SHARDS && c->adds != SIDE_BY_SIDE; ++s) {
    int32_t status;
    memcpy(shard[s].statistics, total, (size_t)shard[s].length * sizeof *total);
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
    if (!has_output(c, i) || c->adds == SIDE_BY_SIDE) continue;
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
  for (s = 0; s < SHARDS; ++s) free(shard[s].statistics);
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
  CHECK(parts.loss == 0 && gradient[0] == 0 && gradient[1] == 0, "%g, gradient %g %g", parts.loss, gradient[0],
        gradient[1]);
}

/* ---- Against what the formulas say, written down the long way ---- */

enum { ITEMS = 2 * 8 * 70 };

typedef struct reference {
  double loss, items[ITEMS], divisor; /* the divisor of their sum */
  int count;
} reference;

/* Input k at sample n, class c and position w, whether or not it has the classes. */
static double at(const problem *q, int k, int64_t n, int64_t c, int64_t w) {
  const segloss_tensor *t = q->a.inputs[k], *x = q->a.inputs[0];
  int64_t classes = count_of(t) == count_of(x) ? x->shape[1] : 1;
  return get(element(t, (n * classes + (classes > 1 ? c : 0)) * x->shape[2] + w), q->types[k]);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double cross_entropy_of(double prob, double label) { return -label * log(prob) - (1 - label) * log1p(-prob); }

/* Whether the targets name classes: with a single one only those of cross-entropy do. */
static int has_class_labels(const problem *q) {
  return is_class_label(q->c->roles[1]) && (q->inputs[0].shape[1] > 1 || is_of(q->c->entry, &CROSS_ENTROPY));
}

static double target_of(const problem *q, int64_t n, int64_t c, int64_t w) {
  double label = at(q, 1, n, c, w);
  return has_class_labels(q) ? label == (double)c : label;
}

/* Which elements count, and how much. */
static double mask_of(const problem *q, int64_t n, int64_t c, int64_t w) {
  int mask = q->c->entry->items == SCORES ? 2 : 3;
  if (at(q, 1, n, c, w) == (double)ignored_by(q->c)) return 0;
  return q->a.inputs[mask] ? at(q, mask, n, c, w) : 1;
}

static double weight_of(const problem *q, int64_t n, int64_t c, int64_t w) {
  return q->a.inputs[2] ? at(q, 2, n, c, w) : 1;
}

static double softmax(const problem *q, int64_t n, int64_t c, int64_t w) {
  int64_t k;
  double sum = 0;
  for (k = 0; k < q->inputs[0].shape[1]; ++k) sum += exp(at(q, 0, n, k, w) - at(q, 0, n, c, w));
  return 1 / sum;
}

/* One score of the samples n0 ... n1 - 1 and the classes of a list; its cross-entropy goes beside it. */
static double score(const problem *q, int64_t n0, int64_t n1, const int64_t *classes, int64_t count, int *is_absent,
                    double *mean) {
  const entry *e = q->c->entry;
  const options *o = &q->options;
  double tp = 0, fp = 0, fn = 0, l = 0, elements = 0, wrong, alpha = 1, beta = 1, smooth = o->dice.smooth;
  int64_t n, i, w;
  for (n = n0; n < n1; ++n)
    for (i = 0; i < count; ++i)
      for (w = 0; w < q->inputs[0].shape[2]; ++w) {
        int64_t c = classes[i];
        double x = at(q, 0, n, c, w), y = target_of(q, n, c, w), m = mask_of(q, n, c, w);
        double prob = q->classes.activation == SEGLOSS_SIGMOID ? sigmoid(x)
                      : q->classes.activation == SEGLOSS_SOFTMAX ? softmax(q, n, c, w) : x;
        double weight = q->classes.class_weight && q->classes.average == SEGLOSS_MICRO ? q->classes.class_weight[c] : 1;
        if (m == 0) continue;
        tp += prob * y * m * weight;
        fp += prob * (1 - y) * m * weight;
        fn += (1 - prob) * y * m * weight;
        l += cross_entropy_of(prob, y) * m * weight;
        elements += m;
      }
  *mean = is_of(e, &DICE_BCE) && elements > 0 ? l / elements : 0;
  *is_absent = q->classes.absent != SEGLOSS_ABSENT_COUNT && tp + fn == 0;
  if (is_of(e, &TVERSKY)) alpha = o->tversky.alpha, beta = o->tversky.beta, smooth = o->tversky.smooth;
  if (is_of(e, &FOCAL_TVERSKY))
    alpha = o->focal_tversky.alpha, beta = o->focal_tversky.beta, smooth = o->focal_tversky.smooth;
  if (is_of(e, &IOU)) smooth = o->iou.smooth;
  wrong = alpha * fp + beta * fn;
  if (*is_absent || wrong == 0) return 0;
  wrong /= (is_of(e, &DICE) || is_of(e, &DICE_BCE) ? 2 : 1) * tp + wrong + smooth;
  return is_of(e, &FOCAL_TVERSKY) ? pow(wrong, o->focal_tversky.gamma) : wrong;
}

static void refer_to_scores(const problem *q, reference *r) {
  const segloss_classes *k = &q->classes;
  int64_t samples = q->inputs[0].shape[0], channels = q->inputs[0].shape[1], all[8], n, i;
  int64_t count = k->classes ? k->classes_length : channels, per_sample = k->per_sample ? samples : 1;
  const int64_t *chosen = k->classes ? k->classes : all;
  int is_macro = k->average == SEGLOSS_MACRO;
  double overlap = 0, mean = 0, divisor = 0;
  for (i = 0; i < channels; ++i) all[i] = i;
  r->count = 0;
  for (n = 0; n < per_sample; ++n)
    for (i = 0; i < (is_macro ? count : 1); ++i) {
      int is_absent;
      double l, weight = is_macro && k->class_weight ? k->class_weight[chosen[i]] : 1;
      double value = weight * score(q, n, k->per_sample ? n + 1 : samples, chosen + i, is_macro ? 1 : count, &is_absent,
                                    &l);
      overlap += value;
      mean += weight * l;
      divisor += !(is_absent && k->absent == SEGLOSS_ABSENT_SKIP);
      r->items[r->count++] = value + weight * l;
    }
  r->divisor = k->reduction == SEGLOSS_SUM || divisor == 0 ? 1 : divisor;
  r->loss = overlap / r->divisor + mean / (k->reduction == SEGLOSS_SUM ? 1 : r->count);
}

/* The loss of one element. */
static double term(const problem *q, double x, double y, int64_t c) {
  const options *o = &q->options;
  if (is_of(q->c->entry, &SMOOTH_L1)) {
    double d = fabs(x - y), b = o->smooth_l1.beta;
    return d < b ? d * d / (2 * b) : d - b / 2;
  }
  if (is_of(q->c->entry, &BCE)) {
    const double *a = o->bce.pos_weight;
    if (o->bce.form != SEGLOSS_BCE_LOGITS) return cross_entropy_of(x, y);
    return (1 - y) * log1p(exp(x)) + (a ? a[o->bce.pos_weight_length > 1 ? c : 0] : 1) * y * log1p(exp(-x));
  }
  if (o->focal.from_logits) x = sigmoid(x);
  if (o->focal.variant == SEGLOSS_FOCAL_PUBLISHED) return cross_entropy_of(x, y);
  return (o->focal.alpha < 0 ? 1 : o->focal.alpha * y + (1 - o->focal.alpha) * (1 - y)) *
         pow(1 - x * y - (1 - x) * (1 - y), o->focal.gamma) * cross_entropy_of(x, y);
}

static void refer_to_elements(const problem *q, reference *r) {
  const segloss_tensor *x = &q->inputs[0];
  double sum = 0, count = 0;
  int64_t n, c, w;
  r->count = 0;
  for (n = 0; n < x->shape[0]; ++n)
    for (c = 0; c < x->shape[1]; ++c)
      for (w = 0; w < x->shape[2]; ++w) {
        double m = mask_of(q, n, c, w), weight = q->classes.class_weight ? q->classes.class_weight[c] : 1, l = 0;
        if (m != 0) l = term(q, at(q, 0, n, c, w), target_of(q, n, c, w), c) * m * weight * weight_of(q, n, c, w);
        sum += r->items[r->count++] = l;
        count += m;
      }
  r->divisor = (is_of(q->c->entry, &SMOOTH_L1) ? q->options.smooth_l1.reduction : q->classes.reduction) == SEGLOSS_SUM
                   ? 1 : count;
  r->loss = sum / r->divisor;
  if (is_of(q->c->entry, &FOCAL) && q->options.focal.variant == SEGLOSS_FOCAL_PUBLISHED)
    r->loss *= q->options.focal.alpha * pow(1 - exp(-r->loss), q->options.focal.gamma);
}

static void refer_to_positions(const problem *q, reference *r) {
  const segloss_cross_entropy_options *o = &q->options.cross_entropy;
  const segloss_tensor *x = &q->inputs[0];
  double sum = 0, divisor = 0;
  int64_t n, c, w;
  r->count = 0;
  for (n = 0; n < x->shape[0]; ++n)
    for (w = 0; w < x->shape[2]; ++w) {
      double l = 0, own = 0;
      for (c = 0; c < x->shape[1]; ++c) {
        double m = mask_of(q, n, c, w), y = target_of(q, n, c, w), e = o->label_smoothing;
        double weight = o->class_weight ? o->class_weight[c] : 1;
        l -= m * weight * ((1 - e) * y + e / (double)x->shape[1]) * log(softmax(q, n, c, w)) * weight_of(q, n, c, w);
        own += has_class_labels(q) ? weight * y * m : m / (double)x->shape[1];
      }
      sum += r->items[r->count++] = l;
      divisor += own;
    }
  r->divisor = o->reduction == SEGLOSS_SUM ? 1 : divisor;
  r->loss = sum / r->divisor;
}

/* Structure: windows summed the long way. */
static double surroundings(const segloss_structure_options *o, const double *y, int64_t h, int64_t w, int64_t i,
                           int64_t j) {
  int64_t r = o->kernel_size / 2, a, b;
  double sum = 0, count = 0;
  for (a = i - r; a <= i + r; ++a)
    for (b = j - r; b <= j + r; ++b)
      if (a >= 0 && a < h && b >= 0 && b < w) sum += y[a * w + b], count += 1;
  if (o->count_include_pad) count = (double)(o->kernel_size * o->kernel_size);
  return 1 + o->gain * fabs(sum / count - y[i * w + j]);
}

static void refer_to_planes(const problem *q, reference *r) {
  const segloss_structure_options *o = &q->options.structure;
  const segloss_tensor *x = &q->inputs[0];
  int64_t h = x->shape[x->rank - 2], w = x->shape[x->rank - 1], planes = count_of(x) / (h * w), n, k;
  double mean = 0;
  r->count = (int)planes;
  r->divisor = (double)planes;
  r->loss = 0;
  for (k = 0; k < count_of(x); ++k) /* one number for every plane, as it is upstream */
    mean += cross_entropy_of(sigmoid(get(element(x, k), F64)), get(element(&q->inputs[1], k),
                                                                   F64)) / (double)count_of(x);
  for (n = 0; n < planes; ++n) {
    double y[80], overlap = 0, either = 0, weighted = 0, weights = 0, apart = 0;
    for (k = 0; k < h * w; ++k) y[k] = get(element(&q->inputs[1], n * h * w + k), F64);
    for (k = 0; k < h * w; ++k) {
      double p = sigmoid(get(element(x, n * h * w + k), F64)), weight = surroundings(o, y, h, w, k / w, k % w);
      overlap += p * y[k] * weight;
      either += (p + y[k] - p * y[k]) * weight;
      apart += weight * (p * (1 - y[k]) + (1 - p) * y[k]) / (p + y[k] - p * y[k] + o->smooth);
      weighted += cross_entropy_of(p, y[k]) * weight;
      weights += weight;
    }
    r->items[n] = (o->variant == SEGLOSS_STRUCTURE_PUBLISHED ? mean : weighted / weights) +
                  (o->variant == SEGLOSS_STRUCTURE_UACANET ? apart / weights
                                                           : (either - overlap) / (either + o->smooth));
    r->loss += r->items[n] / (double)planes;
  }
}

static void refer(const problem *q, reference *r) {
  if (q->c->entry->items == PLANES) refer_to_planes(q, r);
  if (q->c->entry->items == SCORES) refer_to_scores(q, r);
  if (q->c->entry->items == ELEMENTS) refer_to_elements(q, r);
  if (q->c->entry->items == POSITIONS) refer_to_positions(q, r);
}

/* Value and gradient, by differences of the reference, of a case in float64. */
static void as_the_formula_says(const test_case *c, int64_t n, int64_t h, int64_t w, int is_soft) {
  static reference r, up, down;
  const double step = 1e-6;
  problem q;
  double worst = 0, largest = 0;
  int64_t k;
  make_problem(&q, c, F64, F64, n, h, w, is_soft, 21, place_by_malloc, NULL);
  refer(&q, &r);
  CHECK(c->entry->run(&q.a) == SEGLOSS_OK, "%s: %s", c->name, q.error.message);
  CHECK(is_close(q.parts.numbers[1], r.loss, 1e-12, fmax(fabs(r.loss), 1e-3)), "%s, %dx%dx%d: %.17g, reference %.17g",
        c->name, (int)n, (int)h, (int)w, q.parts.numbers[1], r.loss);
  for (k = 0; k < count_of(&q.inputs[0]); ++k) {
    unsigned char *x = element(&q.inputs[0], k);
    double value = get(x, F64), got = get(element(&q.outputs[0], k), F64), want;
    put(x, F64, value + step);
    refer(&q, &up);
    put(x, F64, value - step);
    refer(&q, &down);
    put(x, F64, value);
    want = q.a.grad_output * (up.loss - down.loss) / (2 * step);
    largest = fmax(largest, fabs(want));
    worst = fmax(worst, fabs(got - want));
  }
  /* Differences: step^2 of truncation, or step where a kink lies (smooth L1), and 1e-16 * loss / step of rounding. */
  CHECK(worst <= step * largest + 1e-9, "%s, %dx%dx%d: gradient off by %g of %g", c->name, (int)n, (int)h, (int)w,
        worst,
        largest);
  free_problem(&q);
}

/* Items against the reference, their reduction against the loss, and their gradient, with the reduction's factor for
   each, against the loss's. */
static void items_make_the_loss(const test_case *c, const test_case *items) {
  enum { type = F64 };
  const double bound = 1e-12;
  static reference r;
  problem whole, q;
  double sum = 0, divisor, worst = 0, largest = 0;
  int64_t k;
  make_problem(&whole, c, type, F64, 2, 5, 7, 0, 4, place_by_malloc, NULL);
  make_problem(&q, items, type, F64, 2, 5, 7, 0, 4, place_by_malloc, NULL);
  refer(&whole, &r);
  whole.a.grad_output = 1;
  CHECK(c->entry->run(&whole.a) == SEGLOSS_OK, "%s: %s", c->name, whole.error.message);
  divisor = r.divisor;
  for (k = 0; k < r.count; ++k) {
    segloss_tensor *factors = &q.inputs[input_count(items) - 1];
    CHECK(count_of(factors) == r.count, "%s: %d items", c->name, r.count);
    put(element(factors, k), type, 1 / divisor);
  }
  CHECK(items->entry->run(&q.a) == SEGLOSS_OK, "%s: %s", items->name, q.error.message);
  for (k = 0; k < r.count; ++k) {
    double got = get(element(&q.outputs[1], k), type);
    CHECK(is_close(got, r.items[k], bound, fmax(fabs(r.items[k]), 1e-3)), "%s, item %d: %.17g, reference %.17g",
          items->name, (int)k, got, r.items[k]);
    sum += got;
  }
  CHECK(is_close(sum / divisor, whole.parts.numbers[1], bound, fmax(fabs(sum / divisor), 1e-3)),
        "%s: %.17g, loss %.17g",
        items->name, sum / divisor, whole.parts.numbers[1]);
  for (k = 0; k < count_of(&q.outputs[0]); ++k) {
    double want = get(element(&whole.outputs[0], k), type), got = get(element(&q.outputs[0], k), type);
    largest = fmax(largest, fabs(want));
    worst = fmax(worst, fabs(want - got));
  }
  CHECK(worst <= bound * largest && largest > 0, "%s: gradient off by %g of %g", items->name, worst, largest);

  /* Without factors they are 1. */
  for (k = 0; k < r.count; ++k) put(element(&q.inputs[input_count(items) - 1], k), type, 1);
  fill_outputs(&whole);
  CHECK(items->entry->run(&q.a) == SEGLOSS_OK, "%s: %s", items->name, q.error.message);
  q.a.inputs[input_count(items) - 1] = NULL;
  q.a.outputs[0] = &whole.outputs[0], q.a.outputs[1] = NULL;
  CHECK(items->entry->run(&q.a) == SEGLOSS_OK && same_elements(&whole.outputs[0], &q.outputs[0]),
        "%s, without factors: %s", items->name, q.error.message);
  free_problem(&whole);
  free_problem(&q);
}

/* Labels may be larger than the prediction, by an even number: their centre counts. */
static void larger_labels(void) {
  enum { DOWN = 2, ACROSS = 1 };
  int i;
  for (i = 0; i < case_count; ++i) {
    problem p, plain;
    segloss_tensor large;
    int64_t n, h, w;
    int k;
    if (!is_of(cases[i].entry, &BOUNDARY)) continue;
    make_problem(&p, &cases[i], F32, I32, 2, 6, 9, 0, 8, place_by_malloc, NULL);
    make_problem(&plain, &cases[i], F32, I32, 2, 6, 9, 0, 8, place_by_malloc, NULL);
    large = tensor_of(I32, 2, 6 + 2 * DOWN, 9 + 2 * ACROSS);
    place_by_malloc(NULL, 1, &large);
    for (k = 0; k < count_of(&large); ++k) put(element(&large, k), I32, -77); /* not looked at */
    for (n = 0; n < 2; ++n)
      for (h = 0; h < 6; ++h)
        for (w = 0; w < 9; ++w)
          memcpy(element(&large, (n * (6 + 2 * DOWN) + h + DOWN) * (9 + 2 * ACROSS) + w + ACROSS),
                 element(&plain.inputs[1], (n * 6 + h) * 9 + w), 4);
    p.a.inputs[1] = &large;
    CHECK(plain.c->entry->run(&plain.a) == SEGLOSS_OK, "%s: %s", plain.c->name, plain.error.message);
    CHECK(run_in_two(&p) == SEGLOSS_OK, "%s, larger labels: %s", plain.c->name, p.error.message);
    CHECK(same_results(&p, &plain), "%s: larger labels", plain.c->name);
    for (k = 1; k < 3; ++k) {
      --large.shape[k];
      CHECK(p.c->entry->run(&p.a) == SEGLOSS_SHAPE, "%s, an odd surplus: %s", plain.c->name, p.error.message);
      ++large.shape[k];
    }
    free(large.data);
    free_problem(&p);
    free_problem(&plain);
  }
}

/* Several predictions of one mask: the sum of what each gives alone, and the gradient of each alone. */
static void levels(void) {
  enum { LEVELS = 3 };
  int i, k, j;
  for (i = 0; i < case_count; ++i) {
    problem p[LEVELS];
    segloss_tensor preds[LEVELS], grads[LEVELS];
    segloss_structure_parts parts;
    segloss_error error;
    double level_parts[LEVELS * SEGLOSS_STRUCTURE_LEVEL_PARTS], sums[3] = {0, 0, 0}, *statistics;
    int64_t length;
    if (cases[i].entry != &STRUCTURE) continue;
    memset(&parts, 0, sizeof parts);
    parts.struct_size = sizeof parts;
    for (k = 0; k < LEVELS; ++k) {
      make_problem(&p[k], &cases[i], F64, F64, 2, 11, 13, 1, 9, place_by_malloc, NULL);
      for (j = 0; j < count_of(&p[k].inputs[0]); ++j) /* predictions of their own */
        put(element(&p[k].inputs[0], j), F64, number('x', 100 + (uint32_t)k, (uint32_t)j, 0, 1));
      CHECK(p[k].c->entry->run(&p[k].a) == SEGLOSS_OK, "%s: %s", cases[i].name, p[k].error.message);
      for (j = 0; j < 3; ++j) sums[j] += p[k].parts.numbers[1 + j];
      preds[k] = p[k].inputs[0];
      grads[k] = p[k].outputs[0];
      grads[k].data = calloc((size_t)count_of(&grads[k]), 8);
    }
    CHECK(segloss_structure(preds, LEVELS, &p[0].inputs[1], &p[0].options.structure, -1.75, &parts, level_parts, grads,
                            NULL,
                            &error) == SEGLOSS_OK, "%s: %s", cases[i].name, error.message);
    CHECK(is_close(parts.loss, sums[0], 1e-15, 10) && is_close(parts.bce_loss, sums[1], 1e-15, 10) &&
              is_close(parts.iou_loss, sums[2], 1e-15, 10), "%s: %g of %d levels", cases[i].name, parts.loss, LEVELS);
    for (k = 0; k < LEVELS; ++k) {
      CHECK(same_elements(&grads[k], &p[k].outputs[0]), "%s: gradient of level %d", cases[i].name, k);
      CHECK(memcmp(level_parts + k * 3, p[k].parts.numbers + 1, 3 * sizeof *level_parts) == 0, "%s: parts of level %d",
            cases[i].name, k);
      memset(grads[k].data, 0, (size_t)count_of(&grads[k]) * 8);
    }
    length = p[0].length / (1 + SEGLOSS_STRUCTURE_LEVEL_STATISTICS) * (1 + LEVELS * SEGLOSS_STRUCTURE_LEVEL_STATISTICS);
    statistics = calloc((size_t)length, sizeof *statistics);
    CHECK(segloss_structure_statistics(preds, LEVELS, &p[0].inputs[1], &p[0].options.structure, statistics, length,
                                       NULL, &error) ==
              SEGLOSS_OK, "%s: %s", cases[i].name, error.message);
    CHECK(segloss_structure_finish(preds, LEVELS, &p[0].inputs[1], &p[0].options.structure, statistics, length, -1.75,
                                   NULL, NULL,
                                   grads, NULL, &error) == SEGLOSS_OK, "%s: %s", cases[i].name, error.message);
    for (k = 0; k < LEVELS; ++k)
      CHECK(same_elements(&grads[k], &p[k].outputs[0]), "%s, in two: gradient of level %d", cases[i].name, k);
    free(statistics);
    for (k = 0; k < LEVELS; ++k) {
      free(grads[k].data);
      free_problem(&p[k]);
    }
  }
}

static void formulas(void) {
  int i, k;
  for (i = 0; i < case_count; ++i) {
    const test_case *c = &cases[i];
    if (!c->entry->items_entry || c->entry == &BOUNDARY) continue;
    for (k = 0; k < 2; ++k) {
      as_the_formula_says(c, 2, 5, 7, k);
      as_the_formula_says(c, 1, 2, 33, k);
      as_the_formula_says(c, 2, 1, 31, k);
    }
    for (k = 0; k < case_count; ++k)
      if (cases[k].entry == c->entry->items_entry && strstr(cases[k].name, c->name) == cases[k].name &&
          strcmp(cases[k].name + strlen(c->name), ", items") == 0)
        items_make_the_loss(c, &cases[k]);
  }
}

/* NULL stands for the defaults: of the options, and of the classes in them. */
static void defaults(void) {
  int i, tried = 0;
  for (i = 0; i < case_count; ++i) {
    const test_case *c = &cases[i];
    segloss_classes standard = segloss_classes_default();
    options o;
    problem given, none;
    memset(&o, 0, sizeof o);
    if (!c->entry->defaults) continue;
    c->entry->defaults(&o);
    if (memcmp(&o, &c->options, sizeof o) || memcmp(&standard, &c->classes, sizeof standard) || c->numbers) continue;
    make_problem(&given, c, F32, I32, 2, 5, 13, 0, 6, place_by_malloc, NULL);
    make_problem(&none, c, F32, I32, 2, 5, 13, 0, 6, place_by_malloc, NULL);
    CHECK(c->entry->run(&given.a) == SEGLOSS_OK, "%s: %s", c->name, given.error.message);
    none.a.options = NULL;
    CHECK(c->entry->run(&none.a) == SEGLOSS_OK && same_results(&given, &none), "%s without options", c->name);
    fill_outputs(&none);
    none.a.options = &o; /* whose classes are NULL */
    CHECK(run_in_two(&none) == SEGLOSS_OK && same_results(&given, &none), "%s without classes", c->name);
    free_problem(&given);
    free_problem(&none);
    ++tried;
  }
  CHECK(tried == 2 * 11 - 1, "defaults of %d functions",
        tried); /* all losses with items, and the items of all but focal */
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
  CHECK(db.positives == 14 && db.negatives == 42 && db.threshold_count == 63, "%g positives, %g negatives, %g",
        db.positives,
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
        for (k = 0; k < 5; ++k) /* of the large ones a third: what is not tried here is tried with another case */
          if (s + 1 < sizeof shapes / sizeof *shapes || (i + type + k) % 3 == 0)
            in_one_and_in_two(c, predictions[type], labels[k], x[0], x[1], x[2], 0);
      }
    if (c->entry->items && tells_classes(c)) in_one_and_in_two(c, F32, U8, 2, 2, 99991, 0);
    else in_one_and_in_two(c, F32, U8, 1, 515, 517, 0); /* enough for several threads */
    if (!c->entry->statistics) continue;
    for (k = 0; k < 2; ++k) {
      in_shards(c, F64, k, 1e-13);
      in_shards(c, F32, k, 1e-6);
    }
  }
  perfect_shards();
  formulas();
  larger_labels();
  levels();
  defaults();
  make_golden_inputs();
  golden_singles();
  golden_sums();
  return report("both_forms");
}
