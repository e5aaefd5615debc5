/* Every function of the library, and every kind of loss, behind one signature, so that a loop reaches them all. */
#ifndef SEGLOSS_TESTS_CASES_H
#define SEGLOSS_TESTS_CASES_H

#include "check.h"

#include <stddef.h>

/* ---- Functions ---- */

enum { MAX_INPUTS = 9, MAX_OUTPUTS = 3, MAX_STATISTICS = 4096 };

typedef struct arguments {
  const segloss_tensor *inputs[MAX_INPUTS];
  const void *options;
  double grad_output;
  void *parts;
  const segloss_tensor *outputs[MAX_OUTPUTS];
  double *statistics;
  int64_t length;
  const segloss_execution *execution;
  segloss_error *error;
} arguments;

typedef int32_t function(const arguments *a);

typedef union options {
  uint32_t struct_size;
  segloss_mask_dice_options mask_dice;
  segloss_mask_l1_options mask_l1;
  segloss_balance_options balance;
  segloss_db_options db;
  segloss_l1_balance_ce_options l1_balance_ce;
  segloss_db_step_options db_step;
  segloss_dice_options dice;
  segloss_dice_bce_options dice_bce;
  segloss_iou_options iou;
  segloss_tversky_options tversky;
  segloss_focal_tversky_options focal_tversky;
  segloss_bce_options bce;
  segloss_focal_options focal;
  segloss_smooth_l1_options smooth_l1;
  segloss_cross_entropy_options cross_entropy;
  segloss_ctpn_options ctpn;
  segloss_structure_options structure;
  segloss_active_contour_options active_contour;
  segloss_boundary_options boundary;
} options;

/* What the items of a loss are: scores of the batch, of classes or samples; elements; positions, without the classes;
   planes of a batch. */
enum { NO_ITEMS, SCORES, ELEMENTS, POSITIONS, PLANES };

/* What the functions of a loss are called with, and how. Roles: x logits, p prediction, g label, m mask, w weights,
   t threshold labels, o a gradient that comes in; l labels that name a class, M mask, W weights, without the classes
   (N x 1 x ...), and k, U, V the same of one rank less (N x ...); i one number an item; - nothing. Of anchors: c, b, s
   what predicts their class, box and side, a their labels, B what goes with boxes, S with sides. Of images: h
   the class of each pixel. */
typedef struct entry {
  const char *name;
  const char *inputs[MAX_INPUTS + 1];
  const char *roles;
  int predictions; /* inputs from 0 whose memory the output of the same number may take */
  const char *outputs[MAX_OUTPUTS + 1];
  function *run, *statistics, *finish; /* the last two NULL for maps */
  size_t options_size, parts_size;
  unsigned optional; /* bit i: input i may be NULL by itself */
  int items;
  const struct entry *items_entry; /* the function that gives them; NULL in its own entry */
  void (*defaults)(options *);
  size_t classes; /* where the options point to a segloss_classes; 0: nowhere */
  size_t numbers; /* where they point to numbers for classes, with their count behind; 0: nowhere */
} entry;

#define IN1(a) (a)->inputs[0]
#define IN2(a) IN1(a), (a)->inputs[1]
#define IN3(a) IN2(a), (a)->inputs[2]
#define IN4(a) IN3(a), (a)->inputs[3]
#define IN7(a) IN4(a), (a)->inputs[4], (a)->inputs[5], (a)->inputs[6]
#define IN9(a) IN7(a), (a)->inputs[7], (a)->inputs[8]
#define OUT3(a) (a)->outputs[0], (a)->outputs[1], (a)->outputs[2]
#define CALL(a) (a)->execution, (a)->error
#define ARRAY(a) (a)->statistics, (a)->length

/* The three functions of a loss. */
#define LOSS(loss, IN, OUT)                                                                                            \
  static int32_t loss(const arguments *a) {                                                                            \
    return segloss_##loss(IN(a), a->options, a->grad_output, a->parts, OUT(a), CALL(a));                               \
  }                                                                                                                    \
  static int32_t loss##_statistics(const arguments *a) {                                                               \
    return segloss_##loss##_statistics(IN(a), a->options, ARRAY(a), CALL(a));                                          \
  }                                                                                                                    \
  static int32_t loss##_finish(const arguments *a) {                                                                   \
    return segloss_##loss##_finish(IN(a), a->options, ARRAY(a), a->grad_output, a->parts, OUT(a), CALL(a));            \
  }
#define OUT1(a) (a)->outputs[0]

LOSS(mask_dice, IN4, OUT1)
LOSS(mask_l1, IN3, OUT1)
LOSS(balance, IN3, OUT1)
LOSS(db, IN7, OUT3)
LOSS(l1_balance_ce, IN7, OUT3)
LOSS(ctpn, IN9, OUT3)
LOSS(active_contour, IN2, OUT1)
LOSS(boundary, IN2, OUT1)
static int32_t boundary_items(const arguments *a) {
  return segloss_boundary_items(IN2(a), a->options, a->inputs[2], a->outputs[1], a->outputs[0], CALL(a));
}

/* Of one level; of several in both_forms.c and hostile.c. */
static int32_t structure(const arguments *a) {
  return segloss_structure(a->inputs[0], 1, a->inputs[1], a->options, a->grad_output, a->parts, NULL, OUT1(a), CALL(a));
}
static int32_t structure_statistics(const arguments *a) {
  return segloss_structure_statistics(a->inputs[0], 1, a->inputs[1], a->options, ARRAY(a), CALL(a));
}
static int32_t structure_finish(const arguments *a) {
  return segloss_structure_finish(a->inputs[0], 1, a->inputs[1], a->options, ARRAY(a), a->grad_output, a->parts, NULL,
                                  OUT1(a), CALL(a));
}
static int32_t structure_items(const arguments *a) {
  return segloss_structure_items(IN2(a), a->options, a->inputs[2], a->outputs[1], a->outputs[0], CALL(a));
}

static int32_t balance_map(const arguments *a) {
  return segloss_balance_map(IN3(a), a->options, a->outputs[0], CALL(a));
}
static int32_t balance_map_backward(const arguments *a) {
  return segloss_balance_map_backward(IN4(a), a->options, a->outputs[0], CALL(a));
}
static int32_t db_step(const arguments *a) { return segloss_db_step(IN2(a), a->options, a->outputs[0], CALL(a)); }
static int32_t db_step_backward(const arguments *a) {
  return segloss_db_step_backward(IN3(a), a->options, a->outputs[0], a->outputs[1], CALL(a));
}

#define NOTHING_ELSE NO_ITEMS, NULL, NULL, 0, 0

static const entry MASK_DICE = {"mask_dice", {"pred", "gt", "mask", "weights"}, "pgmw", 1, {"grad_pred"}, mask_dice,
                                mask_dice_statistics, mask_dice_finish, sizeof(segloss_mask_dice_options),
                                sizeof(segloss_mask_dice_parts), 1 << 3, NOTHING_ELSE};
static const entry MASK_L1 = {"mask_l1", {"pred", "gt", "mask"}, "ptm", 1, {"grad_pred"}, mask_l1, mask_l1_statistics,
                              mask_l1_finish, sizeof(segloss_mask_l1_options), sizeof(segloss_mask_l1_parts), 0,
                              NOTHING_ELSE};
static const entry BALANCE = {"balance", {"pred", "gt", "mask"}, "pgm", 1, {"grad_pred"}, balance, balance_statistics,
                              balance_finish, sizeof(segloss_balance_options), sizeof(segloss_balance_parts), 0,
                              NOTHING_ELSE};
static const entry DB = {
    "db", {"prob", "thresh", "binary", "threshold_map", "threshold_mask", "shrink_map", "shrink_mask"}, "ppptmgm", 3,
    {"grad_prob", "grad_thresh", "grad_binary"}, db, db_statistics, db_finish, sizeof(segloss_db_options),
    sizeof(segloss_db_parts), 0, NOTHING_ELSE};
static const entry L1_BALANCE_CE = {
    "l1_balance_ce", {"binary", "thresh", "thresh_binary", "gt", "mask", "thresh_map", "thresh_mask"}, "pppgmtm", 3,
    {"grad_binary", "grad_thresh", "grad_thresh_binary"}, l1_balance_ce, l1_balance_ce_statistics,
    l1_balance_ce_finish, sizeof(segloss_l1_balance_ce_options), sizeof(segloss_l1_balance_ce_parts), 0,
    NOTHING_ELSE};
static const entry BALANCE_MAP = {"balance_map", {"pred", "gt", "mask"}, "pgm", 1, {"out"}, balance_map, NULL, NULL,
                                  sizeof(segloss_balance_options), 0, 1 << 2, NOTHING_ELSE};
static const entry BALANCE_MAP_BACKWARD = {
    "balance_map_backward", {"pred", "gt", "mask", "grad_output"}, "pgmo", 1, {"grad_pred"}, balance_map_backward, NULL,
    NULL, sizeof(segloss_balance_options), 0, 1 << 2, NOTHING_ELSE};
static const entry DB_STEP = {"db_step", {"prob", "thresh"}, "pp", 0, {"out"}, db_step, NULL, NULL,
                              sizeof(segloss_db_step_options), 0, 0, NOTHING_ELSE};
static const entry DB_STEP_BACKWARD = {
    "db_step_backward", {"prob", "thresh", "grad_output"}, "ppo", 0, {"grad_prob", "grad_thresh"}, db_step_backward,
    NULL, NULL, sizeof(segloss_db_step_options), 0, 0, NOTHING_ELSE};

static const entry CTPN = {
    "ctpn", {"cls", "box", "side", "rpn_labels", "rpn_bbox_targets", "rpn_bbox_inside_weights",
             "rpn_bbox_outside_weights", "side_targets", "side_mask"},
    "cbsaBBBSS", 3, {"grad_cls", "grad_box", "grad_side"}, ctpn, ctpn_statistics, ctpn_finish,
    sizeof(segloss_ctpn_options), sizeof(segloss_ctpn_parts), 0, NOTHING_ELSE};

static const entry ACTIVE_CONTOUR = {
    "active_contour", {"input", "target"}, "pg", 0, {"grad_input"}, active_contour, active_contour_statistics,
    active_contour_finish, sizeof(segloss_active_contour_options), sizeof(segloss_active_contour_parts), 0,
        NOTHING_ELSE};

static void boundary_defaults(options *o) { o->boundary = segloss_boundary_options_default(); }
static const entry BOUNDARY_ITEMS = {
    "boundary_items", {"pred", "labels", "grad_output"}, "xhi", 0, {"grad_pred", "values"}, boundary_items, NULL, NULL,
    sizeof(segloss_boundary_options), 0, 1 << 2, PLANES, NULL, boundary_defaults, 0, 0};
static const entry BOUNDARY = {
    "boundary", {"pred", "labels"}, "xh", 0, {"grad_pred"}, boundary, boundary_statistics, boundary_finish,
    sizeof(segloss_boundary_options), sizeof(segloss_boundary_parts), 0, PLANES, &BOUNDARY_ITEMS, boundary_defaults, 0,
        0};

static void structure_defaults(options *o) { o->structure = segloss_structure_options_default(); }
static const entry STRUCTURE_ITEMS = {
    "structure_items", {"pred", "mask", "grad_output"}, "xgi", 1, {"grad_pred", "values"}, structure_items, NULL, NULL,
    sizeof(segloss_structure_options), 0, 1 << 2, PLANES, NULL, structure_defaults, 0, 0};
static const entry STRUCTURE = {
    "structure", {"preds", "mask"}, "xg", 1, {"grad_preds"}, structure, structure_statistics, structure_finish,
    sizeof(segloss_structure_options), sizeof(segloss_structure_parts), 0, PLANES, &STRUCTURE_ITEMS,
        structure_defaults, 0,
    0};

/* A loss that is reduced from items: its three functions and the fourth that gives the items, with both their entries.
   The gradient is output 0 of either, so that it stands beside its prediction. */
#define ITEM_LOSS(ENTRY, loss, n, roles_, parts_, optional_, items_, classes_, numbers_)                               \
  LOSS(loss, IN##n, OUT1)                                                                                              \
  static int32_t loss##_items(const arguments *a) {                                                                    \
    return segloss_##loss##_items(IN##n(a), a->options, a->inputs[n], a->outputs[1], a->outputs[0], CALL(a));          \
  }                                                                                                                    \
  static void loss##_defaults(options *o) { o->loss = segloss_##loss##_options_default(); }                            \
  static const entry ENTRY##_ITEMS = {                                                                                 \
      #loss "_items", {INPUTS_##n, "grad_output"}, roles_ "i", 1, {"grad_input", "values"}, loss##_items, NULL, NULL,  \
      sizeof(segloss_##loss##_options), 0, (optional_) | 1 << n, items_, NULL, loss##_defaults, classes_, numbers_};   \
  static const entry ENTRY = {                                                                                         \
      #loss, {INPUTS_##n}, roles_, 1, {"grad_input"}, loss, loss##_statistics, loss##_finish,                          \
      sizeof(segloss_##loss##_options), sizeof(parts_), optional_, items_, &ENTRY##_ITEMS, loss##_defaults, classes_,  \
      numbers_};
#define INPUTS_3 "input", "target", "mask"
#define INPUTS_4 "input", "target", "weight", "mask"
#define OVERLAP_LOSS(ENTRY, loss, parts)                                                                               \
  ITEM_LOSS(ENTRY, loss, 3, "xgm", parts, 1 << 2, SCORES, offsetof(segloss_##loss##_options, classes), 0)
#define POINTWISE_LOSS(ENTRY, loss, parts, items, classes, numbers)                                                    \
  ITEM_LOSS(ENTRY, loss, 4, "xgwm", parts, 1 << 2 | 1 << 3, items, classes, numbers)

OVERLAP_LOSS(DICE, dice, segloss_overlap_parts)
OVERLAP_LOSS(DICE_BCE, dice_bce, segloss_dice_bce_parts)
OVERLAP_LOSS(IOU, iou, segloss_overlap_parts)
OVERLAP_LOSS(TVERSKY, tversky, segloss_overlap_parts)
OVERLAP_LOSS(FOCAL_TVERSKY, focal_tversky, segloss_overlap_parts)
POINTWISE_LOSS(BCE, bce, segloss_mean_parts, ELEMENTS, offsetof(segloss_bce_options, classes),
               offsetof(segloss_bce_options, pos_weight))
POINTWISE_LOSS(FOCAL, focal, segloss_focal_parts, ELEMENTS, offsetof(segloss_focal_options, classes), 0)
POINTWISE_LOSS(SMOOTH_L1, smooth_l1, segloss_mean_parts, ELEMENTS, 0, 0)
POINTWISE_LOSS(CROSS_ENTROPY, cross_entropy, segloss_cross_entropy_parts, POSITIONS, 0,
               offsetof(segloss_cross_entropy_options, class_weight))

/* Whether `e` is the loss or gives its items. */
static inline int is_of(const entry *e, const entry *loss) { return e == loss || e == loss->items_entry; }

/* Whether a loss looks at images, and not at elements. */
static inline int is_window(const entry *e) { return e == &ACTIVE_CONTOUR || e->items == PLANES; }

/* ---- Cases ---- */

/* Whether statistics of several batches add up; of samples they stand side by side. */
enum { NEVER, LABELS_OF_0_AND_1, ALWAYS, SIDE_BY_SIDE };

/* Anchors one below another; those of a place beside each other behind it; or, in predictions, before it. */
enum { ROWS, MAPS, HEADS, ANCHORS_OF_A_PLACE = 3 };

/* Numbers for classes: none, one for all, one a class. */
enum { NO_NUMBERS, ONE_NUMBER, ONE_A_CLASS };

typedef struct test_case {
  char name[80];
  const entry *entry;
  char roles[MAX_INPUTS + 1];
  options options;
  segloss_classes classes; /* of the options; class_weight_length and classes_length stand for arrays that fit */
  int numbers;
  int channels;     /* of images: N x C x H x W; 0: N x H x W */
  int anchors;      /* how predictions of anchors are laid out */
  unsigned bounded; /* bit i: input i is refused outside [0, 1] */
  int length;       /* of the statistics; of one item's, for scores */
  int adds;
} test_case;

static test_case cases[160];
static int case_count;

/* Targets that are to be ignored, and numbers for classes. */
enum { IGNORED = 255 };
static double class_numbers[1024];

static inline test_case *add_case(const char *name, const entry *entry, int length, int adds) {
  test_case *c = &cases[case_count++];
  if (case_count > (int)(sizeof cases / sizeof *cases) || strlen(name) >= sizeof c->name) abort();
  strcpy(c->name, name);
  c->entry = entry;
  strcpy(c->roles, entry->roles);
  c->classes = segloss_classes_default();
  if (entry->defaults) entry->defaults(&c->options);
  c->length = length;
  c->adds = adds;
  return c;
}

static inline segloss_balance_options *add_balance(const char *name, const entry *entry, int main_loss, int adds) {
  test_case *c = add_case(name, entry, entry->statistics ? SEGLOSS_BALANCE_STATISTICS : 0, adds);
  c->options.balance = segloss_balance_options_default();
  c->options.balance.main_loss = main_loss;
  return &c->options.balance;
}

static inline test_case *add_db(const char *name, int variant, int main_loss, int length, int adds) {
  test_case *c = add_case(name, &DB, length, adds);
  c->options.db = segloss_db_options_default(variant);
  c->options.db.main_loss = main_loss;
  return c;
}

/* What the overlap losses have in common, and which of them are tried with it. */
static inline void add_overlap_cases(void) {
  static const struct {
    const entry *entry;
    char letter;
    int length;
  } losses[] = {{&DICE, 'd', SEGLOSS_OVERLAP_STATISTICS}, {&DICE_BCE, 'b', SEGLOSS_DICE_BCE_STATISTICS},
                {&IOU, 'i', SEGLOSS_OVERLAP_STATISTICS}, {&TVERSKY, 't', SEGLOSS_OVERLAP_STATISTICS},
                {&FOCAL_TVERSKY, 'f', SEGLOSS_OVERLAP_STATISTICS}};
  static const struct {
    const char *name, *letters, *roles;
    int activation, average, per_sample, absent, reduction, ignores, weighted, chosen;
  } forms[] = {
      {"", "dbitf", "xgm", SEGLOSS_SIGMOID, SEGLOSS_MICRO, 0, SEGLOSS_ABSENT_COUNT, SEGLOSS_MEAN, 0, 0, 0},
      {"no mask, samples", "di", "xg-", SEGLOSS_SIGMOID, SEGLOSS_MICRO, 1, SEGLOSS_ABSENT_ZERO, SEGLOSS_MEAN, 0, 0, 0},
      {"macro, labels", "dbf", "xlM", SEGLOSS_SIGMOID, SEGLOSS_MACRO, 0, SEGLOSS_ABSENT_SKIP, SEGLOSS_MEAN, 0, 0, 0},
      {"softmax, labels, ignoring", "dit", "xkU", SEGLOSS_SOFTMAX, SEGLOSS_MICRO, 0, SEGLOSS_ABSENT_COUNT, SEGLOSS_MEAN,
       1, 1, 0},
      {"softmax, macro of samples", "d", "xk-", SEGLOSS_SOFTMAX, SEGLOSS_MACRO, 1, SEGLOSS_ABSENT_SKIP, SEGLOSS_MEAN, 0,
       1, 0},
      {"probabilities, ignoring", "db", "pgU", SEGLOSS_NO_ACTIVATION, SEGLOSS_MICRO, 1, SEGLOSS_ABSENT_COUNT,
       SEGLOSS_SUM,
       1, 0, 1},
      {"macro, two classes", "dt", "xgm", SEGLOSS_SIGMOID, SEGLOSS_MACRO, 0, SEGLOSS_ABSENT_ZERO, SEGLOSS_MEAN, 1, 1,
       1},
      {"softmax, dense", "d", "xgM", SEGLOSS_SOFTMAX, SEGLOSS_MACRO, 0, SEGLOSS_ABSENT_COUNT, SEGLOSS_SUM, 0, 0, 0},
      {"probabilities", "bf", "pgm", SEGLOSS_NO_ACTIVATION, SEGLOSS_MICRO, 0, SEGLOSS_ABSENT_COUNT, SEGLOSS_MEAN, 0, 0,
       0},
  };
  size_t l, f;
  for (l = 0; l < sizeof losses / sizeof *losses; ++l)
    for (f = 0; f < sizeof forms / sizeof *forms; ++f) {
      char name[80];
      test_case *c;
      if (!strchr(forms[f].letters, losses[l].letter)) continue;
      sprintf(name, "%s%s%s", losses[l].entry->name, *forms[f].name ? ", " : "", forms[f].name);
      c = add_case(name, losses[l].entry, losses[l].length, forms[f].per_sample ? SIDE_BY_SIDE : ALWAYS);
      strcpy(c->roles, forms[f].roles);
      c->classes.activation = forms[f].activation;
      c->classes.average = forms[f].average;
      c->classes.per_sample = forms[f].per_sample;
      c->classes.absent = forms[f].absent;
      c->classes.reduction = forms[f].reduction;
      c->classes.has_ignore_index = forms[f].ignores;
      c->classes.ignore_index = forms[f].ignores ? IGNORED : 0;
      c->classes.class_weight_length = forms[f].weighted;
      c->classes.classes_length = forms[f].chosen;
      if (c->entry == &DICE_BCE && forms[f].activation == SEGLOSS_NO_ACTIVATION)
        c->bounded = 3;
      if (f == 0) continue;
      if (c->entry == &TVERSKY) c->options.tversky.alpha = .3, c->options.tversky.beta = .7;
      if (c->entry == &FOCAL_TVERSKY) c->options.focal_tversky.alpha = .25, c->options.focal_tversky.gamma = 1.5;
      if (c->entry == &IOU) c->options.iou.smooth = .125;
    }
}

static inline test_case *add_pointwise(const char *name, const entry *entry, const char *roles) {
  test_case *c = add_case(name, entry,
                          entry == &CROSS_ENTROPY ? SEGLOSS_CROSS_ENTROPY_STATISTICS : SEGLOSS_MEAN_STATISTICS,
                          ALWAYS);
  strcpy(c->roles, roles);
  return c;
}

static inline void ignore(test_case *c) {
  c->classes.has_ignore_index = 1;
  c->classes.ignore_index = IGNORED;
}

static inline void add_pointwise_cases(void) {
  test_case *c;
  add_pointwise("bce", &BCE, "xgwm");
  c = add_pointwise("bce, shared mask, factors of positives", &BCE, "xgwU");
  c->numbers = ONE_A_CLASS;
  c = add_pointwise("bce, labels, weights of positions", &BCE, "xlVM");
  c->numbers = ONE_NUMBER;
  c->classes.class_weight_length = 1;
  c->classes.reduction = SEGLOSS_SUM;
  c = add_pointwise("bce, labels, ignoring", &BCE, "xkW-");
  ignore(c);
  c = add_pointwise("bce, torch", &BCE, "pg-m");
  c->options.bce.form = SEGLOSS_BCE_TORCH;
  c->bounded = 3;
  c = add_pointwise("bce, paddle, ignoring", &BCE, "pgw-");
  c->options.bce.form = SEGLOSS_BCE_PADDLE;
  c->bounded = 1;
  ignore(c);

  add_pointwise("focal", &FOCAL, "xgwm");
  c = add_pointwise("focal, probabilities", &FOCAL, "pgV-");
  c->options.focal.from_logits = 0;
  c->bounded = 3;
  c = add_pointwise("focal, paper", &FOCAL, "xgwm");
  c->options.focal.variant = SEGLOSS_FOCAL_PAPER;
  c->options.focal.alpha = .25;
  c = add_pointwise("focal, paper, labels, ignoring", &FOCAL, "pk-U");
  c->options.focal.variant = SEGLOSS_FOCAL_PAPER;
  c->options.focal.from_logits = 0;
  c->options.focal.alpha = -1;
  c->options.focal.gamma = 1.5;
  c->classes.class_weight_length = 1;
  c->bounded = 1;
  ignore(c);

  add_pointwise("smooth_l1", &SMOOTH_L1, "xgwm");
  c = add_pointwise("smooth_l1, shared mask", &SMOOTH_L1, "xgVM");
  c->options.smooth_l1.beta = .5;
  c->options.smooth_l1.reduction = SEGLOSS_SUM;

  add_pointwise("cross_entropy", &CROSS_ENTROPY, "xl--");
  c = add_pointwise("cross_entropy, smoothed, weighted, ignoring", &CROSS_ENTROPY, "xkVU");
  c->options.cross_entropy.label_smoothing = .125;
  c->options.cross_entropy.ignore_index = IGNORED;
  c->numbers = ONE_A_CLASS;
  c = add_pointwise("cross_entropy, dense", &CROSS_ENTROPY, "xgWM");
  c->numbers = ONE_A_CLASS;
  c = add_pointwise("cross_entropy, sum", &CROSS_ENTROPY, "xkV-");
  c->options.cross_entropy.reduction = SEGLOSS_SUM;
}

static inline segloss_structure_options *add_structure(const char *name, int variant, int channels) {
  test_case *c = add_case(name, &STRUCTURE, SEGLOSS_STRUCTURE_STATISTICS + SEGLOSS_STRUCTURE_LEVEL_STATISTICS,
                          SIDE_BY_SIDE);
  c->options.structure.variant = variant;
  c->channels = channels;
  return &c->options.structure;
}

static inline segloss_active_contour_options *add_contour(const char *name, const char *roles, int channels) {
  test_case *c = add_case(name, &ACTIVE_CONTOUR, SEGLOSS_ACTIVE_CONTOUR_STATISTICS, ALWAYS);
  strcpy(c->roles, roles);
  c->options.active_contour = segloss_active_contour_options_default();
  c->channels = channels;
  return &c->options.active_contour;
}

static inline test_case *add_boundary(const char *name, const char *roles, int variant) {
  test_case *c = add_case(name, &BOUNDARY, SEGLOSS_BOUNDARY_STATISTICS, NEVER);
  strcpy(c->roles, roles);
  c->options.boundary.variant = variant;
  c->channels = 3;
  return c;
}

static inline void add_windows(void) {
  segloss_active_contour_options *o;
  test_case *c;
  add_boundary("boundary", "xh", SEGLOSS_BOUNDARY_PUBLISHED);
  c = add_boundary("boundary, present classes, ignoring", "xh", SEGLOSS_BOUNDARY_PRESENT_CLASSES);
  c->options.boundary.has_ignore_index = 1;
  c->options.boundary.ignore_index = IGNORED;
  c = add_boundary("boundary, probabilities", "ph", SEGLOSS_BOUNDARY_PRESENT_CLASSES);
  c->options.boundary.from_probs = 1;
  c->options.boundary.theta0 = 5;
  c->options.boundary.theta = 1;
  c->bounded = 1;
  add_structure("structure", SEGLOSS_STRUCTURE_PUBLISHED, 0);
  add_structure("structure, paper, 3 x 3", SEGLOSS_STRUCTURE_PAPER, 3)->kernel_size = 3;
  add_structure("structure, uacanet, inside", SEGLOSS_STRUCTURE_UACANET, 3)->count_include_pad = 0;
  add_contour("active_contour", "pg", 0);
  add_contour("active_contour, aligned", "pg", 3)->variant = SEGLOSS_CONTOUR_ALIGNED;
  o = add_contour("active_contour, logits", "xg", 3);
  o->from_logits = 1;
  o->c_in = .75, o->c_out = .125, o->region_weight = 2;
}

static inline void add_ctpn(const char *name, const char *roles, int variant, int anchors) {
  test_case *c = add_case(name, &CTPN, SEGLOSS_CTPN_STATISTICS, ALWAYS);
  strcpy(c->roles, roles);
  c->options.ctpn = segloss_ctpn_options_default(variant);
  c->anchors = anchors;
}

/* The items of every case that has some. */
static inline void add_items(void) {
  int i, count = case_count;
  for (i = 0; i < count; ++i) {
    const entry *items = cases[i].entry->items_entry;
    if (!items || (items == &FOCAL_ITEMS && cases[i].options.focal.variant == SEGLOSS_FOCAL_PUBLISHED)) continue;
    cases[case_count] = cases[i];
    cases[case_count].entry = items;
    strcat(cases[case_count].roles, "i");
    strcat(cases[case_count].name, ", items");
    ++case_count;
  }
}

static inline void make_cases(void) {
  test_case *c;
  segloss_balance_options *o;
  int i;
  for (i = 0; i < 1024; ++i) class_numbers[i] = (1 + i % 5) / 4.0;
  case_count = 0;
  memset(cases, 0, sizeof cases);

  c = add_case("mask_dice", &MASK_DICE, SEGLOSS_MASK_DICE_STATISTICS, ALWAYS);
  c->options.mask_dice = segloss_mask_dice_options_default();
  strcpy(c->roles, "pgm-");
  c = add_case("mask_dice with weights", &MASK_DICE, SEGLOSS_MASK_DICE_STATISTICS, ALWAYS);
  c->options.mask_dice = segloss_mask_dice_options_default();
  c = add_case("mask_l1", &MASK_L1, SEGLOSS_MASK_L1_STATISTICS, ALWAYS);
  c->options.mask_l1 = segloss_mask_l1_options_default();

  add_balance("balance Dice", &BALANCE, SEGLOSS_MAIN_DICE, LABELS_OF_0_AND_1);
  add_balance("balance Dice, not balanced", &BALANCE, SEGLOSS_MAIN_DICE, ALWAYS)->balance_loss = 0;
  add_balance("balance BCE", &BALANCE, SEGLOSS_MAIN_BCE, NEVER);
  add_balance("balance BCE, torch", &BALANCE, SEGLOSS_MAIN_BCE, NEVER)->bce_form = SEGLOSS_BCE_TORCH;
  add_balance("balance BCE, logits", &BALANCE, SEGLOSS_MAIN_BCE, NEVER)->bce_form = SEGLOSS_BCE_LOGITS;
  add_balance("balance BCE, bytes", &BALANCE, SEGLOSS_MAIN_BCE, NEVER)->truncate_weights = 1;
  add_balance("balance L1", &BALANCE, SEGLOSS_MAIN_MASK_L1, LABELS_OF_0_AND_1);
  add_balance("balance L1, not balanced", &BALANCE, SEGLOSS_MAIN_MASK_L1, ALWAYS)->balance_loss = 0;
  add_balance("balance Dice-OHEM", &BALANCE, SEGLOSS_MAIN_DICE_OHEM, ALWAYS);
  add_balance("balance Dice-OHEM, clean", &BALANCE, SEGLOSS_MAIN_DICE_OHEM, ALWAYS)->clean = 1;
  o = add_balance("balance Dice-OHEM, not balanced", &BALANCE, SEGLOSS_MAIN_DICE_OHEM, ALWAYS);
  o->balance_loss = 0;
  o->negative_ratio = 1;
  add_balance("balance_map without a mask", &BALANCE_MAP, SEGLOSS_MAIN_BCE, NEVER);
  strcpy(cases[case_count - 1].roles, "pg-");
  add_balance("balance_map_backward, torch, without a mask", &BALANCE_MAP_BACKWARD, SEGLOSS_MAIN_BCE, NEVER)->bce_form =
      SEGLOSS_BCE_TORCH;
  strcpy(cases[case_count - 1].roles, "pg-o");
  add_balance("balance_map", &BALANCE_MAP, SEGLOSS_MAIN_BCE, NEVER);
  add_balance("balance_map_backward", &BALANCE_MAP_BACKWARD, SEGLOSS_MAIN_BCE, NEVER);

  add_db("db published", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_DICE, SEGLOSS_DB_STATISTICS, LABELS_OF_0_AND_1);
  add_db("db published, BCE", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS, NEVER);
  add_db("db published, L1", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_MASK_L1, SEGLOSS_DB_STATISTICS, LABELS_OF_0_AND_1);
  add_db("db published, Dice-OHEM", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_DICE_OHEM, SEGLOSS_DB_STATISTICS, ALWAYS);
  add_db("db wenmuzhou", SEGLOSS_DB_WENMUZHOU, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS, NEVER);
  c = add_db("db wenmuzhou, shrink alone", SEGLOSS_DB_WENMUZHOU, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS_SHRINK, NEVER);
  strcpy(c->roles, "p----gm");
  add_db("db paper", SEGLOSS_DB_PAPER, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS_PAPER, NEVER);
  add_db("db paper, from B", SEGLOSS_DB_PAPER, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS_PAPER, NEVER)
      ->options.db.step_k = 0;

  c = add_case("l1_balance_ce", &L1_BALANCE_CE, SEGLOSS_DB_STATISTICS, NEVER);
  c->options.l1_balance_ce = segloss_l1_balance_ce_options_default();
  c = add_case("l1_balance_ce, binary alone", &L1_BALANCE_CE, SEGLOSS_DB_STATISTICS_SHRINK, NEVER);
  c->options.l1_balance_ce = segloss_l1_balance_ce_options_default();
  strcpy(c->roles, "p--gm--");
  add_case("db_step", &DB_STEP, 0, NEVER)->options.db_step = segloss_db_step_options_default();
  add_case("db_step_backward", &DB_STEP_BACKWARD, 0, NEVER)->options.db_step = segloss_db_step_options_default();

  add_ctpn("ctpn", "cb-aBBB--", SEGLOSS_CTPN_PUBLISHED, ROWS);
  add_ctpn("ctpn paper, rows", "cbsaBBBSS", SEGLOSS_CTPN_PAPER, ROWS);
  add_ctpn("ctpn, maps", "cbsaBBBSS", SEGLOSS_CTPN_PUBLISHED, MAPS);
  add_ctpn("ctpn paper, heads", "cbsaBBBSS", SEGLOSS_CTPN_PAPER, HEADS);
  add_windows();
  add_overlap_cases();
  add_pointwise_cases();
  add_items();
}

static inline int input_count(const test_case *c) { return (int)strlen(c->roles); }
static inline int is_absent(const test_case *c, int input) { return c->roles[input] == '-'; }
static inline int is_one_of(const char *roles, char role) { return role && strchr(roles, role) != NULL; }
static inline int is_mask(char role) { return is_one_of("mMU", role); }
static inline int is_class_label(char role) { return is_one_of("lkh", role); }

/* Whether output i can be given: a gradient needs its prediction. */
static inline int has_output(const test_case *c, int i) {
  return i < MAX_OUTPUTS && c->entry->outputs[i] != NULL && !(c->entry->predictions == 3 && is_absent(c, i));
}

static inline char output_role(const test_case *c, int i) {
  return strcmp(c->entry->outputs[i], "values") ? c->roles[i] : 'i';
}

static inline int is_prediction(char role) { return is_one_of("pxcbs", role); }

/* Whether the formula of a case has classes: there must be some then. */
static inline int needs_classes(const test_case *c) {
  const segloss_classes *k = &c->classes;
  return is_of(c->entry, &CROSS_ENTROPY) || k->activation == SEGLOSS_SOFTMAX || k->average == SEGLOSS_MACRO ||
         k->class_weight_length || k->classes_length;
}

/* Whether dimension 1 means anything at all. */
static inline int tells_classes(const test_case *c) {
  return needs_classes(c) || c->numbers == ONE_A_CLASS || strpbrk(c->roles, "lkMUWV") != NULL;
}

/* The value of targets that do not count, or a value that none has. */
static inline int64_t ignored_by(const test_case *c) {
  if (is_of(c->entry, &CROSS_ENTROPY) && !is_one_of(c->roles, 'g')) return c->options.cross_entropy.ignore_index;
  if (is_of(c->entry,
            &BOUNDARY)) return c->options.boundary.has_ignore_index ? c->options.boundary.ignore_index : INT64_MIN;
  return c->classes.has_ignore_index ? c->classes.ignore_index : INT64_MIN;
}

/* Classes that take part, of h. */
static inline int64_t classes_of(const test_case *c, int64_t h) {
  return c->classes.classes_length && h > 2 ? 2 : h;
}

static inline int shape_of_anchors(const test_case *c, char role, int64_t n, int64_t h, int64_t w, int64_t *shape) {
  int64_t numbers = role == 'c' ? 2 : role == 'B' || role == 'b' ? 4 : 1, anchors = ANCHORS_OF_A_PLACE;
  if (c->anchors == ROWS) {
    shape[0] = n * h * w, shape[1] = numbers;
    return numbers > 1 ? 2 : 1;
  }
  shape[0] = n, shape[1] = h, shape[2] = w, shape[3] = anchors * numbers;
  if (c->anchors == HEADS && is_prediction(role))
    shape[1] = anchors * (role == 's' ? 1 : 2), shape[2] = h, shape[3] = w;
  return 4;
}

/* The shape of what plays a role beside predictions of n x h x w, and its rank. */
static inline int shape_of(const test_case *c, char role, int64_t n, int64_t h, int64_t w, int64_t *shape) {
  int rank = 0;
  if (is_one_of("cbsaBS", role)) return shape_of_anchors(c, role, n, h, w, shape);
  shape[rank++] = n;
  if (role == 'i' && c->entry->items == SCORES) {
    if (!c->classes.per_sample) rank = 0;
    if (c->classes.average == SEGLOSS_MACRO) shape[rank++] = classes_of(c, h);
    return rank;
  }
  if (role == 'i' && c->entry->items == PLANES) {
    shape[rank++] = c->channels ? c->channels : 1;
    return rank;
  }
  if (c->channels && role != 'h') shape[rank++] = c->channels;
  if (is_one_of("lMW", role)) shape[rank++] = 1;
  else if (!is_one_of("kUV", role) && !(role == 'i' && c->entry->items == POSITIONS)) shape[rank++] = h;
  shape[rank++] = w;
  return rank;
}

/* Entries of the statistics. */
static inline int length_of(const test_case *c, int64_t n, int64_t h) {
  if (c->entry->items == PLANES)
    return (int)(c->length * n * (c->channels ? c->channels : 1)) + (c->entry == &BOUNDARY);
  if (c->entry->items != SCORES) return c->length;
  return (int)(c->length * (c->classes.per_sample ? n : 1) *
               (c->classes.average == SEGLOSS_MACRO ? classes_of(c, h) : 1));
}

/* ---- Problems ---- */

/* A case with inputs, and room for its outputs. */
typedef struct problem {
  const test_case *c;
  segloss_tensor inputs[MAX_INPUTS], outputs[MAX_OUTPUTS];
  int types[MAX_INPUTS], output_type;
  options options;
  segloss_classes classes;
  int64_t chosen[2];
  double *statistics;
  int length; /* of the statistics */
  union {
    uint32_t struct_size;
    double numbers[9];
  } parts;
  segloss_error error;
  arguments a;
} problem;

/* Gives a tensor of known type and shape its memory: data, and strides if it likes. `index` counts inputs from 0 and
   outputs from MAX_INPUTS. */
typedef void place(void *context, int index, segloss_tensor *t);

static inline void place_by_malloc(void *context, int index, segloss_tensor *t) {
  (void)context;
  (void)index;
  t->data = malloc((size_t)count_of(t) * (t->type_bits / 8) + 1);
  if (!t->data) abort();
}

/* A number for a role: exact in every element type, soft or 0/1 for labels. */
static inline double number(char role, uint32_t seed, uint32_t i, int is_soft, int64_t classes) {
  uint32_t x = noise(seed, i);
  switch (role) {
  case 'g': return is_soft ? (x % 17) / 16.0 : x % 5 == 0;
  case 'm': case 'M': case 'U': return x % 10 != 0;
  case 'w': case 'W': case 'V': return x % 9 / 4.0;
  case 'l': case 'k': case 'h': return (double)(x % (uint32_t)(classes > 0 ? classes : 1));
  case 'x': return ((int)(x % 255) - 127) / 32.0;
  case 'a': return (int)(x % 4 == 3 ? 1 : x % 4) - 1;
  case 'c': case 'b': case 's': case 'B': case 'S': return ((int)(x % 65) - 24) / 16.0;
  case 'o': case 'i': return ((int)(x % 33) - 16) / 8.0;
  default: return (1 + x % 255) / 256.0;
  }
}

/* A type that holds what an input of this role is given. */
static inline int type_for(const test_case *c, char role, int type, int label_type, int is_soft, int64_t classes) {
  int is_small = label_type == U8 || label_type == BOOL;
  if (is_class_label(role))
    return label_type == I32 || label_type == I64 || (label_type == U8 && classes <= 256) ? label_type : I64;
  if (role == 'a') return is_small ? I32 : label_type;
  if (role == 'g' && is_of(c->entry, &CROSS_ENTROPY) && classes == 1) return type; /* integers would be labels */
  if (role == 'g' && !is_soft) return is_small && ignored_by(c) == IGNORED ? U8 : label_type;
  return is_mask(role) ? label_type : type;
}

static const unsigned char UNTOUCHED = 0xA5;

static inline void fill_outputs(problem *p) {
  int i;
  int64_t k, count;
  for (i = 0; i < MAX_OUTPUTS; ++i) {
    segloss_tensor *t = &p->outputs[i];
    count = t->data ? count_of(t) : 0;
    if (t->flags & SEGLOSS_DENSE && count > 0) memset(t->data, UNTOUCHED, (size_t)count * (t->type_bits / 8));
    else for (k = 0; k < count; ++k) memset(element(t, k), UNTOUCHED, t->type_bits / 8);
  }
  memset(&p->parts, UNTOUCHED, sizeof p->parts);
  p->parts.struct_size = (uint32_t)p->c->entry->parts_size;
}

/* The options of the case for so many classes, with the arrays that they point to. */
static inline void make_options(problem *p, int64_t classes) {
  const entry *e = p->c->entry;
  const void *pointer;
  int64_t length;
  p->options = p->c->options;
  p->classes = p->c->classes;
  p->chosen[0] = classes - 1;
  if (p->classes.class_weight_length) p->classes.class_weight = class_numbers, p->classes.class_weight_length = classes;
  if (p->classes.classes_length) p->classes.classes = p->chosen, p->classes.classes_length = classes_of(p->c, classes);
  if (e->classes) {
    pointer = &p->classes;
    memcpy((char *)&p->options + e->classes, &pointer, sizeof pointer);
  }
  if (p->c->numbers) {
    pointer = class_numbers;
    length = p->c->numbers == ONE_NUMBER ? 1 : classes;
    memcpy((char *)&p->options + e->numbers, &pointer, sizeof pointer);
    memcpy((char *)&p->options + e->numbers + sizeof pointer, &length, sizeof length);
  }
}

static inline segloss_tensor tensor_for(const test_case *c, char role, int type, int64_t n, int64_t h, int64_t w) {
  int64_t shape[SEGLOSS_MAX_RANK];
  int rank = shape_of(c, role, n, h, w, shape);
  return segloss_from_dlpack(NULL, SEGLOSS_DEVICE_CPU, 0, rank, types[type].code, types[type].bits, 1, shape, NULL, 0);
}

/* N x H x W maps, or H classes of W positions: predictions in `type`, labels and masks in `label_type` (soft ones in
   `type`), filled from `seed`. */
static inline void make_problem(problem *p, const test_case *c, int type, int label_type, int64_t n, int64_t h,
                                int64_t w, int is_soft, uint32_t seed, place *place, void *context) {
  int i;
  int64_t k, count, classes;
  memset(p, 0, sizeof *p);
  p->c = c;
  p->output_type = type;
  for (i = 0; i < input_count(c); ++i) {
    char role = c->roles[i];
    if (is_absent(c, i)) continue;
    classes = role == 'h' ? c->channels : h;
    p->types[i] = type_for(c, role, type, label_type, is_soft, classes);
    p->inputs[i] = tensor_for(c, role, p->types[i], n, h, w);
    place(context, i, &p->inputs[i]);
    count = count_of(&p->inputs[i]);
    for (k = 0; k < count; ++k) {
      double value = number(role, seed + (uint32_t)i * 977u, (uint32_t)k, is_soft,
                            p->types[i] == U8 ? classes % 256 : classes);
      if (i == 1 && ignored_by(c) == IGNORED && noise(seed + 5, (uint32_t)k) % 7 == 3) value = IGNORED;
      put(element(&p->inputs[i], k), p->types[i], value);
    }
    p->a.inputs[i] = &p->inputs[i];
  }
  for (i = 0; i < MAX_OUTPUTS; ++i) {
    if (!has_output(c, i)) continue;
    p->outputs[i] = tensor_for(c, output_role(c, i), type, n, h, w);
    place(context, MAX_INPUTS + i, &p->outputs[i]);
    p->a.outputs[i] = &p->outputs[i];
  }
  make_options(p, h);
  p->length = length_of(c, n, h);
  p->statistics = calloc((size_t)p->length + 1, sizeof *p->statistics);
  if (!p->statistics) abort();
  p->a.options = &p->options;
  p->a.grad_output = -1.75;
  p->a.parts = c->entry->parts_size ? &p->parts : NULL;
  p->a.statistics = p->statistics;
  p->a.length = p->length;
  p->a.error = &p->error;
  fill_outputs(p);
}

static inline void free_problem(problem *p) {
  int i;
  for (i = 0; i < MAX_INPUTS; ++i) free(p->inputs[i].data);
  for (i = 0; i < MAX_OUTPUTS; ++i) free(p->outputs[i].data);
  free(p->statistics);
}

static inline int same_parts(const problem *a, const problem *b) {
  return memcmp(&a->parts, &b->parts, a->c->entry->parts_size) == 0;
}

/* Whether two problems of one case ended with the same bits. */
static inline int same_results(const problem *a, const problem *b) {
  int i;
  if (!same_parts(a, b)) return 0;
  for (i = 0; i < MAX_OUTPUTS; ++i)
    if (a->a.outputs[i] && b->a.outputs[i] && !same_elements(&a->outputs[i], &b->outputs[i])) return 0;
  return 1;
}

/* Both halves of a loss; the one call of a map. */
static inline int32_t run_in_two(problem *p) {
  int32_t status;
  if (!p->c->entry->statistics) return p->c->entry->run(&p->a);
  status = p->c->entry->statistics(&p->a);
  return status ? status : p->c->entry->finish(&p->a);
}

#endif
