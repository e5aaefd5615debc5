/* Every function of the library, and every kind of loss, behind one signature, so that a loop reaches them all. */
#ifndef SEGLOSS_TESTS_CASES_H
#define SEGLOSS_TESTS_CASES_H

#include "check.h"

/* ---- Functions ---- */

enum { MAX_INPUTS = 7, MAX_OUTPUTS = 3, MAX_STATISTICS = 24 };

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

/* What the functions of a loss are called with, and how. Roles: p prediction, g label, m mask, w weights, t threshold
   labels, o a gradient that comes in. */
typedef struct entry {
  const char *name;
  const char *inputs[MAX_INPUTS + 1];
  const char *roles;
  int predictions; /* inputs from 0 whose memory the output of the same number may take */
  const char *outputs[MAX_OUTPUTS + 1];
  function *run, *statistics, *finish; /* the last two NULL for maps */
  size_t options_size, parts_size;
  int optional; /* the input that may be NULL by itself; 0: none */
} entry;

#define IN2(a) (a)->inputs[0], (a)->inputs[1]
#define IN3(a) IN2(a), (a)->inputs[2]
#define IN4(a) IN3(a), (a)->inputs[3]
#define IN7(a) IN4(a), (a)->inputs[4], (a)->inputs[5], (a)->inputs[6]
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

static const entry MASK_DICE = {"mask_dice", {"pred", "gt", "mask", "weights"}, "pgmw", 1, {"grad_pred"}, mask_dice,
                                mask_dice_statistics, mask_dice_finish, sizeof(segloss_mask_dice_options),
                                sizeof(segloss_mask_dice_parts), 3};
static const entry MASK_L1 = {"mask_l1", {"pred", "gt", "mask"}, "ptm", 1, {"grad_pred"}, mask_l1, mask_l1_statistics,
                              mask_l1_finish, sizeof(segloss_mask_l1_options), sizeof(segloss_mask_l1_parts), 0};
static const entry BALANCE = {"balance", {"pred", "gt", "mask"}, "pgm", 1, {"grad_pred"}, balance, balance_statistics,
                              balance_finish, sizeof(segloss_balance_options), sizeof(segloss_balance_parts), 0};
static const entry DB = {
    "db", {"prob", "thresh", "binary", "threshold_map", "threshold_mask", "shrink_map", "shrink_mask"}, "ppptmgm", 3,
    {"grad_prob", "grad_thresh", "grad_binary"}, db, db_statistics, db_finish, sizeof(segloss_db_options),
    sizeof(segloss_db_parts), 0};
static const entry L1_BALANCE_CE = {
    "l1_balance_ce", {"binary", "thresh", "thresh_binary", "gt", "mask", "thresh_map", "thresh_mask"}, "pppgmtm", 3,
    {"grad_binary", "grad_thresh", "grad_thresh_binary"}, l1_balance_ce, l1_balance_ce_statistics,
    l1_balance_ce_finish, sizeof(segloss_l1_balance_ce_options), sizeof(segloss_l1_balance_ce_parts), 0};
static const entry BALANCE_MAP = {"balance_map", {"pred", "gt", "mask"}, "pgm", 1, {"out"}, balance_map, NULL, NULL,
                                  sizeof(segloss_balance_options), 0, 2};
static const entry BALANCE_MAP_BACKWARD = {
    "balance_map_backward", {"pred", "gt", "mask", "grad_output"}, "pgmo", 1, {"grad_pred"}, balance_map_backward, NULL,
    NULL, sizeof(segloss_balance_options), 0, 2};
static const entry DB_STEP = {"db_step", {"prob", "thresh"}, "pp", 0, {"out"}, db_step, NULL, NULL,
                              sizeof(segloss_db_step_options), 0, 0};
static const entry DB_STEP_BACKWARD = {
    "db_step_backward", {"prob", "thresh", "grad_output"}, "ppo", 0, {"grad_prob", "grad_thresh"}, db_step_backward,
    NULL, NULL, sizeof(segloss_db_step_options), 0, 0};

/* ---- Cases ---- */

/* Whether statistics of several batches add up. */
enum { NEVER, LABELS_OF_0_AND_1, ALWAYS };

typedef union options {
  uint32_t struct_size;
  segloss_mask_dice_options mask_dice;
  segloss_mask_l1_options mask_l1;
  segloss_balance_options balance;
  segloss_db_options db;
  segloss_l1_balance_ce_options l1_balance_ce;
  segloss_db_step_options db_step;
} options;

typedef struct test_case {
  const char *name;
  const entry *entry;
  options options;
  unsigned absent; /* bit i: input i is NULL */
  int length;      /* of the statistics */
  int adds;
} test_case;

static test_case cases[32];
static int case_count;

static inline test_case *add_case(const char *name, const entry *entry, int length, int adds) {
  test_case *c = &cases[case_count++];
  c->name = name;
  c->entry = entry;
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

static inline void make_cases(void) {
  test_case *c;
  segloss_balance_options *o;
  case_count = 0;
  memset(cases, 0, sizeof cases);

  c = add_case("mask_dice", &MASK_DICE, SEGLOSS_MASK_DICE_STATISTICS, ALWAYS);
  c->options.mask_dice = segloss_mask_dice_options_default();
  c->absent = 1 << 3;
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
  cases[case_count - 1].absent = 1 << 2;
  add_balance("balance_map_backward, torch, without a mask", &BALANCE_MAP_BACKWARD, SEGLOSS_MAIN_BCE, NEVER)->bce_form =
      SEGLOSS_BCE_TORCH;
  cases[case_count - 1].absent = 1 << 2;
  add_balance("balance_map", &BALANCE_MAP, SEGLOSS_MAIN_BCE, NEVER);
  add_balance("balance_map_backward", &BALANCE_MAP_BACKWARD, SEGLOSS_MAIN_BCE, NEVER);

  add_db("db published", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_DICE, SEGLOSS_DB_STATISTICS, LABELS_OF_0_AND_1);
  add_db("db published, BCE", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS, NEVER);
  add_db("db published, L1", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_MASK_L1, SEGLOSS_DB_STATISTICS, LABELS_OF_0_AND_1);
  add_db("db published, Dice-OHEM", SEGLOSS_DB_PUBLISHED, SEGLOSS_MAIN_DICE_OHEM, SEGLOSS_DB_STATISTICS, ALWAYS);
  add_db("db wenmuzhou", SEGLOSS_DB_WENMUZHOU, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS, NEVER);
  add_db("db wenmuzhou, shrink alone", SEGLOSS_DB_WENMUZHOU, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS_SHRINK, NEVER)
      ->absent = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4;
  add_db("db paper", SEGLOSS_DB_PAPER, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS_PAPER, NEVER);
  add_db("db paper, from B", SEGLOSS_DB_PAPER, SEGLOSS_MAIN_BCE, SEGLOSS_DB_STATISTICS_PAPER, NEVER)
      ->options.db.step_k = 0;

  c = add_case("l1_balance_ce", &L1_BALANCE_CE, SEGLOSS_DB_STATISTICS, NEVER);
  c->options.l1_balance_ce = segloss_l1_balance_ce_options_default();
  c = add_case("l1_balance_ce, binary alone", &L1_BALANCE_CE, SEGLOSS_DB_STATISTICS_SHRINK, NEVER);
  c->options.l1_balance_ce = segloss_l1_balance_ce_options_default();
  c->absent = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6;
  add_case("db_step", &DB_STEP, 0, NEVER)->options.db_step = segloss_db_step_options_default();
  add_case("db_step_backward", &DB_STEP_BACKWARD, 0, NEVER)->options.db_step = segloss_db_step_options_default();
}

static inline int input_count(const test_case *c) { return (int)strlen(c->entry->roles); }
static inline int is_absent(const test_case *c, int input) { return c->absent >> input & 1; }

/* Whether output i can be given: a gradient needs its prediction. */
static inline int has_output(const test_case *c, int i) {
  return i < MAX_OUTPUTS && c->entry->outputs[i] != NULL && !(c->entry->predictions == 3 && is_absent(c, i));
}

/* ---- Problems ---- */

/* A case with inputs, and room for its outputs. */
typedef struct problem {
  const test_case *c;
  segloss_tensor inputs[MAX_INPUTS], outputs[MAX_OUTPUTS];
  int types[MAX_INPUTS], output_type;
  double statistics[MAX_STATISTICS];
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
static inline double number(char role, uint32_t seed, uint32_t i, int is_soft) {
  uint32_t x = noise(seed, i);
  switch (role) {
  case 'g': return is_soft ? (x % 17) / 16.0 : x % 5 == 0;
  case 'm': return x % 10 != 0;
  case 'w': return x % 9 / 4.0;
  case 'o': return ((int)(x % 33) - 16) / 8.0;
  default: return (1 + x % 255) / 256.0;
  }
}

static const unsigned char UNTOUCHED = 0xA5;

static inline void fill_outputs(problem *p) {
  int i;
  int64_t k;
  for (i = 0; i < MAX_OUTPUTS; ++i)
    for (k = 0; p->outputs[i].data && k < count_of(&p->outputs[i]); ++k)
      memset(element(&p->outputs[i], k), UNTOUCHED, p->outputs[i].type_bits / 8);
  memset(&p->parts, UNTOUCHED, sizeof p->parts);
  p->parts.struct_size = (uint32_t)p->c->entry->parts_size;
}

/* N x H x W maps: predictions in `type`, labels and masks in `label_type` (soft ones in `type`), filled from `seed`. */
static inline void make_problem(problem *p, const test_case *c, int type, int label_type, int64_t n, int64_t h,
                                int64_t w, int is_soft, uint32_t seed, place *place, void *context) {
  int i;
  int64_t k;
  memset(p, 0, sizeof *p);
  p->c = c;
  p->output_type = type;
  for (i = 0; i < input_count(c); ++i) {
    char role = c->entry->roles[i];
    int is_label = role == 'm' || (role == 'g' && !is_soft);
    if (is_absent(c, i)) continue;
    p->types[i] = is_label ? label_type : type;
    p->inputs[i] = tensor_of(p->types[i], n, h, w);
    place(context, i, &p->inputs[i]);
    for (k = 0; k < count_of(&p->inputs[i]); ++k)
      put(element(&p->inputs[i], k), p->types[i], number(role, seed + (uint32_t)i * 977u, (uint32_t)k, is_soft));
    p->a.inputs[i] = &p->inputs[i];
  }
  for (i = 0; i < MAX_OUTPUTS; ++i) {
    if (!has_output(c, i)) continue;
    p->outputs[i] = tensor_of(type, n, h, w);
    place(context, MAX_INPUTS + i, &p->outputs[i]);
    p->a.outputs[i] = &p->outputs[i];
  }
  p->a.options = &c->options;
  p->a.grad_output = -1.75;
  p->a.parts = c->entry->parts_size ? &p->parts : NULL;
  p->a.statistics = p->statistics;
  p->a.length = c->length;
  p->a.error = &p->error;
  fill_outputs(p);
}

static inline void free_problem(problem *p) {
  int i;
  for (i = 0; i < MAX_INPUTS; ++i) free(p->inputs[i].data);
  for (i = 0; i < MAX_OUTPUTS; ++i) free(p->outputs[i].data);
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
