/* A fuzzer's bytes as one call of the library: which function, and its arguments, good or hostile. Bytes that are missing
   count as 0, and a 0 asks for the good case, so that the empty input is a valid call and each byte spoils one thing.

   A caller can lie in ways that no library sees: a pointer to memory that is not there. So descriptors, arrays and structs
   are honest about memory unless they must be refused for what they say. Honest memory stands against pages that may not
   be touched, and around outputs nothing may change.

   What must hold after a call: a status of the header's, a sentence that fits and ends, inputs as they were, nothing
   written but what is described as output, and nothing at all where an argument was refused. A failure ends in abort(). */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#endif
#include "../../Sources/CXLA/include/cxla.h"
#include "../CTests/check.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  INPUT, OUTPUT, LEVELS, LEVEL_GRADIENTS, LEVEL_COUNT, LEVEL_PARTS, ARRAYS, ARRAY_COUNT, GRADIENTS, DESCRIPTION, OPTIONS,
  PARTS, ERROR, DOUBLE, INT32, UINT32, INT64, STATISTICS_IN, STATISTICS_OUT, LENGTH, PROGRAM, PROGRAM_SIZE, PROGRAM_PARTS,
  PARTS_LENGTH, COUNT_OUT, GENERATOR, RUNNER, TEAM, TEAM_SIZE, CONTEXT, FRAME
};
enum { FIELD_DOUBLE, FIELD_INT32, FIELD_UINT32, FIELD_INT64, FIELD_DOUBLES, FIELD_INDICES, FIELD_STRUCT };
enum { RETURNS_STATUS, RETURNS_TEXT, RETURNS_OTHER };

typedef union value {
  void *p;
  int64_t i;
  double d;
} value;

typedef struct field {
  const char *name;
  int kind;
  size_t at, length_at;
  int layout;
} field;

typedef struct layout {
  const char *name;
  size_t size;
  const field *fields;
  void (*defaults)(void *to, int variant);
} layout;

typedef struct parameter {
  const char *name;
  int kind, layout;
} parameter;

typedef struct function_row {
  const char *name;
  int64_t (*call)(const value *arguments);
  const parameter *parameters;
  int count, returns;
} function_row;

typedef struct program_row {
  const char *loss;
  int layout, predictions, function;
} program_row;

#include "calls.h"

enum { FUNCTIONS = sizeof functions / sizeof *functions, PROGRAMS = sizeof programs / sizeof *programs };
enum { ARENA = 1 << 16, MOST_ELEMENTS = 1536, MARK = 0xA5, SLOTS = 192, SLOT_BYTES = 8192, MOST_TENSORS = 96, MOST_ARGUMENTS = 32 };

#define FAIL(...) (fprintf(stderr, "\nsegloss harness: " __VA_ARGS__), fprintf(stderr, "\n"), abort())

/* ---- The input ---- */

static const uint8_t *bytes;
static size_t bytes_left;

static uint8_t byte(void) {
  if (!bytes_left) return 0;
  --bytes_left;
  return *bytes++;
}

/* Whether this byte spoils something: one in eight. */
static int hostile(uint8_t b) { return b >= 224; }

static const double doubles[] = {1, 0, -1, .5, 2, 1e-6, 3, .25, NAN, INFINITY, -INFINITY, 1e308, -1e308, 1e-320, 9.3e18,
                                 -9.3e18, 4294967296.0, 1e18, -0.0, .3, 10, 100, 50, 1e30, 2147483648.0, 7, 16, 65536,
                                 -1e-9, 1e9, 5, 1.0000001};
static const int64_t integers[] = {0, 1, 2, 3, 4, 5, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 7, 16, 31, 255, -100,
                                   1 << 24, -(1 << 24), (1 << 24) + 1, (int64_t)1 << 32, 65536, 6, 17, 1000000007};
#define PICK(table, b) (table)[(b) % (sizeof(table) / sizeof *(table))]

static double pick_double(double otherwise) {
  uint8_t b = byte();
  return b < 128 ? otherwise : PICK(doubles, b - 128u);
}

static int64_t pick_integer(int64_t otherwise) {
  uint8_t b = byte();
  return b < 128 ? otherwise : PICK(integers, b - 128u);
}

/* ---- Memory ---- */

static unsigned char *arena, shadow[ARENA], described[ARENA];
static size_t cursor;

/* Small pieces, each against the end of its pages. */
typedef struct slot {
  unsigned char *memory; /* of SLOT_BYTES; behind it a page that may not be touched */
  unsigned char *at, copy[SLOT_BYTES];
  size_t size;
  int is_output;
} slot;

static slot slots[SLOTS];
static int slot_count;

static unsigned char *guarded(size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  unsigned char *memory = mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory + page, size, PROT_READ | PROT_WRITE)) abort();
  return memory + page;
}

static void *take(size_t size, int is_output) {
  slot *s = &slots[slot_count++];
  if (slot_count > SLOTS || size > SLOT_BYTES - 64) FAIL("no room for %zu bytes", size);
  if (!s->memory) s->memory = guarded(SLOT_BYTES);
  s->size = size;
  s->is_output = is_output;
  s->at = s->memory + SLOT_BYTES - size;
  memset(s->at - 64, MARK, 64 + size);
  return s->at;
}

static size_t size_of_slot(const void *at) {
  int i;
  for (i = slot_count - 1; i > 0 && slots[i].at != at; --i) {}
  return slots[i].size;
}

static void *take_copy(const void *from, size_t size, int is_output) {
  void *at = take(size, is_output);
  if (size) memcpy(at, from, size);
  return at;
}

/* ---- What a call has in common ---- */

enum { MOST_NUMBERS = 512 }; /* statistics that an array holds */

typedef struct tensor_record {
  const segloss_tensor *tensor;
  int is_output;
} tensor_record;

static struct {
  int64_t n, c, h, w, anchors;
  int float_type, label_type, has_class_labels, shapes_only;
  enum { ELEMENTS, SCORES, POSITIONS, PLANES } items; /* what values before the reduction are of */
  int has_positions;                                  /* weights and masks lack the classes */
  int32_t levels, count;
  int64_t length, parts_length;
  int asks_length, asks_parts_length; /* whether a refusal may say how long they are to be */
  int wants_real_statistics;
  segloss_error *error;
  double *statistics, *program_parts;
  /* Of a program. */
  const program_row *program;
  void *program_bytes;
  int64_t program_size;
  segloss_tensor *arrays;
  segloss_tensor value;
  int32_t predictions;
} call;

static tensor_record tensors[MOST_TENSORS];
static int tensor_count;

/* ---- Tensors ---- */

static const int64_t sizes[] = {4, 1, 2, 3, 5, 7, 8, 0, 16, 17, 31, 32, 33, 64, 6, 9};

static int is_label(const char *name) {
  return !strcmp(name, "labels") || !strcmp(name, "rpn_labels") || (!strcmp(name, "target") && call.has_class_labels);
}

static int is_zero_or_one(const char *name) {
  return is_label(name) || strstr(name, "mask") || !strcmp(name, "gt") || !strcmp(name, "shrink_map");
}

static int shape_of(const char *name, uint8_t variant, int64_t *shape) {
  int64_t n = call.n, c = call.c, h = call.h, w = call.w, a = call.anchors;
  int i;
  static const char *const anchors[] = {"cls", "box", "rpn_bbox_targets", "rpn_bbox_inside_weights",
                                        "rpn_bbox_outside_weights", "rpn_labels", "side", "side_targets", "side_mask",
                                        "rpn_side_targets", "rpn_side_mask", "grad_cls", "grad_box", "grad_side"};
  int is_anchors = 0;
  for (i = 0; i < (int)(sizeof anchors / sizeof *anchors); ++i) is_anchors |= !strcmp(name, anchors[i]);
#define SHAPE(...)                                                                                                     \
  do {                                                                                                                 \
    int64_t values[] = {__VA_ARGS__};                                                                                  \
    memcpy(shape, values, sizeof values);                                                                              \
    return (int)(sizeof values / sizeof *values);                                                                      \
  } while (0)
  if (variant < 128) { /* what goes with the name */
    if (!strcmp(name, "gt_boxes") || !strcmp(name, "line_boxes")) SHAPE(h, 4);
    if (!strcmp(name, "heights")) SHAPE(a);
    if (is_anchors && a > 9) { /* targets of anchors */
      int64_t numbers = strstr(name, "bbox") ? 4 : 1;
      SHAPE(1, h, w, a * numbers);
    }
    if (is_anchors) {
      int64_t numbers = strstr(name, "cls") ? 2 : strstr(name, "box") ? 4 : 1;
      if (call.n == 1 && numbers == 1) SHAPE(h * w);
      if (call.n == 1) SHAPE(h * w, numbers);
      SHAPE(n, h, w, a * numbers);
    }
    if (!strcmp(name, "values") || !strcmp(name, "grad_output")) {
      if (call.items == SCORES) return 0;
      if (call.items == PLANES) SHAPE(n, c);
      if (call.items == POSITIONS) SHAPE(n, h, w);
    }
    if (call.has_positions && (!strcmp(name, "weight") || !strcmp(name, "mask"))) SHAPE(n, h, w);
    if (!strcmp(name, "labels") || (!strcmp(name, "target") && call.has_class_labels)) SHAPE(n, h, w);
    if (c == 1) SHAPE(n, h, w);
    SHAPE(n, c, h, w);
  }
  switch ((variant - 128) % 24) {
  case 0: SHAPE(n, c, h, w);
  case 1: SHAPE(n, h, w);
  case 2: SHAPE(n, 1, h, w);
  case 3: SHAPE(n, c);
  case 4: SHAPE(n);
  case 5: return 0;
  case 6: SHAPE(c);
  case 7: SHAPE(n, h, w, c);
  case 8: SHAPE(n, h + 2, w + 2);
  case 9: SHAPE(h, 5);
  case 10: SHAPE(n, a * 2, h, w);
  case 11: SHAPE(n, a, h, w);
  case 12: SHAPE(n, h, w, a * 4);
  case 13: SHAPE(n, c, h);
  case 14: SHAPE(h * w);
  case 15: SHAPE(1, c, 1, h, 1, w);
  case 16: SHAPE(n, c, h * w);
  case 17: SHAPE(n, 3, h, w);
  case 18: SHAPE(n, h);
  case 19: SHAPE(w);
  case 20: SHAPE(n, 0, h, w);
  case 21: SHAPE(n, c, h, w, 2);
  case 22: SHAPE(n, c, 2, 2, h, 1);
  default:
    for (i = 0; i < 6; ++i) shape[i] = PICK(sizes, byte());
    return byte() % 7;
  }
}

/* Whether the library must refuse the descriptor for what it says; if not, the bytes that it spans from its data. */
static int must_be_refused(const segloss_tensor *t, __int128 *low, __int128 *high, __int128 *count) {
  __int128 product = 1, reach = 0;
  int i, type, known = 0, empty = 0;
  *low = *high = *count = 0;
  if (t->device_type != SEGLOSS_DEVICE_CPU || t->flags > 1 || t->reserved || t->rank < 0 || t->rank > SEGLOSS_MAX_RANK)
    return 1;
  for (type = 0; type < TYPES; ++type)
    known |= t->type_code == types[type].code && t->type_bits == types[type].bits && t->type_lanes == 1;
  if (!known) return 1;
  for (i = 0; i < t->rank; ++i) {
    __int128 stride = t->strides[i];
    if (t->shape[i] < 0) return 1;
    empty |= t->shape[i] == 0;
    product *= t->shape[i] ? t->shape[i] : 1;
    if (product > INT64_MAX / 16) return 1;
    if (t->shape[i] < 2 || t->flags) continue;
    stride *= t->shape[i] - 1;
    if (stride < 0) *low += stride, reach -= stride;
    else *high += stride, reach += stride;
    if (reach > INT64_MAX / 16) return 1;
  }
  if (t->flags) *high = product - 1;
  *count = empty ? 0 : product;
  *low *= t->type_bits / 8;
  *high = *high * (t->type_bits / 8) + t->type_bits / 8;
  if (empty) *low = *high = 0;
  return 0;
}

static void spoil(segloss_tensor *t, uint8_t way) {
  int64_t *extent = &t->shape[(way >> 5) % 6], *stride = &t->strides[(way >> 5) % 6];
  switch (way % 32) {
  case 0: t->rank = -1; break;
  case 1: t->rank = 7; break;
  case 2: t->rank = INT32_MAX; break;
  case 3: t->rank = INT32_MIN; break;
  case 4: *extent = -1; break;
  case 5: *extent = INT64_MIN; break;
  case 6: *extent = INT64_MAX; break;
  case 7: t->shape[0] = t->shape[1] = (int64_t)1 << 32; break;
  case 8: *extent = (int64_t)1 << 60; break;
  case 9: t->shape[0] = -2, t->shape[1] = -3; break;
  case 10: t->shape[0] = INT64_MIN, t->shape[1] = 0; break;
  case 11: t->type_bits = 8, t->type_code = SEGLOSS_TYPE_INT; break;
  case 12: t->type_bits = byte(); break;
  case 13: t->type_code = byte(); break;
  case 14: t->type_lanes = byte(); break;
  case 15: t->device_type = (int8_t)byte(); break;
  case 16: t->flags = 2; break;
  case 17: t->flags = 1u << 31 | 1; break;
  case 18: spell_strides(t), *stride = INT64_MAX; break;
  case 19: spell_strides(t), *stride = INT64_MIN; break;
  case 20: spell_strides(t), *stride = INT64_MIN / 8; break;
  case 21: t->reserved = byte() + 1u; break;
  case 22: t->data = NULL; break;
  case 23: t->device_id = (int32_t)pick_integer(7); break;
  case 24: t->rank = (int32_t)(t->rank + 1) % 8; break;
  case 25: *extent = 0; break;
  case 26: t->type_bits = 64, t->type_code = 5; break;
  case 27: *extent = *extent + 1; break;
  case 28: spell_strides(t), *stride = (int64_t)1 << 58; break;
  case 29: *extent = 0, t->shape[0] = (int64_t)1 << 40; break;
  case 30: *extent = 0, t->shape[1] = (int64_t)1 << 33; break;
  default: t->rank = byte() % 7; break;
  }
}

static void lay_out(segloss_tensor *t, uint8_t layout, uint8_t seed) {
  int i;
  if (layout < 96) return; /* dense */
  for (i = 0; i < t->rank; ++i)
    if (t->shape[i] < 0 || t->shape[i] > 4096) return;
  spell_strides(t);
  switch (layout % 8) {
  case 0: break;
  case 1: for (i = 0; i < t->rank; ++i) t->strides[i] *= 2 + seed % 2; break;
  case 2: for (i = 0; i < t->rank; ++i) t->strides[i] *= -1; break;
  case 3: for (i = 0; i < t->rank; ++i) if (seed >> i & 1) t->strides[i] = 0; break;
  case 4: /* the first dimension innermost */
    for (i = 0; i < t->rank; ++i) t->strides[i] = i ? t->strides[i - 1] * (t->shape[i - 1] ? t->shape[i - 1] : 1) : 1;
    break;
  case 5: for (i = 0; i < t->rank; ++i) t->strides[i] = (int8_t)byte(); break;
  case 6: if (t->rank > 1) t->strides[t->rank - 2] += seed % 7; break;
  default: /* channels last */
    if (t->rank > 2) {
      int64_t stride = t->shape[1];
      t->strides[1] = 1;
      for (i = t->rank - 1; i >= 2; --i) t->strides[i] = stride, stride *= t->shape[i];
      t->strides[0] = stride;
    }
  }
}

/* Where `span` bytes may begin. */
static size_t place(size_t span, uint8_t where, uint8_t seed) {
  size_t at;
  if (where >= 240) return 0;
  if (where >= 224) return ARENA - span;
  if (cursor + span + 64 > ARENA) cursor = 0;
  at = (cursor + 63) / 64 * 64 + (where < 128 ? 0 : seed % 16);
  if (at + span > ARENA) at = ARENA - span;
  cursor = at + span;
  return at;
}

static int type_index(const segloss_tensor *t) {
  int type;
  for (type = 0; type < TYPES; ++type)
    if (t->type_code == types[type].code && t->type_bits == types[type].bits) break;
  return type;
}

static void fill(const segloss_tensor *t, const char *name, uint8_t content, uint8_t seed) {
  int type = type_index(t), size = t->type_bits / 8;
  int64_t i, count = count_of(t);
  int zero_or_one = is_zero_or_one(name), label = is_label(name);
  int is_float = type == F32 || type == F64 || type == F16 || type == BF16;
  for (i = 0; i < count; ++i) {
    uint32_t x = noise(seed, (uint32_t)i);
    unsigned char *at = element(t, i);
    double number = strstr(name, "boxes") ? (double)(x % 64) + (i & 2 ? 8 : 0) : zero_or_one ? x % 4 == 0 : (x % 17) / 16.0;
    if (label) number = (double)(x % (uint32_t)(call.c > 0 && call.c < 100 ? call.c : 1));
    if (!strcmp(name, "rpn_labels")) number = (int)(x % 3) - (type == U8 || type == BOOL ? 0 : 1);
    if (!strcmp(name, "heights")) number = 11 + x % 8;
    if (content >= 96) {
      int k;
      switch (content % 8) {
      case 0: number = ((int)(x % 255) - 127) / 32.0; break;
      case 1: /* any bits at all */
        for (k = 0; k < size; ++k) at[k] = (unsigned char)noise(seed + 1u, (uint32_t)(i * size + k));
        continue;
      case 2: number = 0; break;
      case 3: number = 1; break;
      case 4: if (x % 5 == 0) memset(at, 0xFF, (size_t)size); else put(at, type, number); continue; /* NaN, or -1 */
      case 5: /* infinite, or huge */
        if (x % 3 == 0 && type == F32) memcpy(at, &(float){x & 64 ? INFINITY : -3e38f}, 4);
        else if (x % 3 == 0 && type == F64) memcpy(at, &(double){x & 64 ? -INFINITY : 1.7e308}, 8);
        else if (x % 3 == 0) memset(at, 0x7F, (size_t)size);
        else put(at, type, number);
        continue;
      case 6: /* tiny */
        memset(at, 0, (size_t)size);
        at[0] = (unsigned char)x;
        continue;
      default: number = type == F32 || type == F64 ? PICK(doubles, seed) : (double)(seed % 64);
      }
    }
    if (!is_float && (number < 0 && (type == U8 || type == BOOL))) number = 0;
    put(at, type, type == F32 && fabs(number) > 3e38 ? copysign(INFINITY, number) : number);
  }
}

/* Fills `t`; 0 if the argument is to be NULL. */
static int decode_tensor(segloss_tensor *t, const char *name, int is_output) {
  uint8_t flaw = byte(), shape = byte(), type_byte = byte(), layout = byte(), where = byte(), content = byte(), seed = byte();
  __int128 low, high, count;
  int type = is_zero_or_one(name) || (!strcmp(name, "target") && call.has_class_labels) ? call.label_type : call.float_type;
  if (flaw >= 216 && flaw < 224) return 0;
  if (!strcmp(name, "rpn_labels")) type = call.anchors > 9 ? I32 : call.label_type == U8 ? I32 : call.label_type;
  if (call.anchors > 9 && is_output && strcmp(name, "rpn_labels")) type = F32;
  if (type_byte >= 160) type = type_byte % TYPES;
  memset(t, 0, sizeof *t);
  t->device_type = SEGLOSS_DEVICE_CPU;
  t->type_code = types[type].code, t->type_bits = types[type].bits, t->type_lanes = 1;
  t->flags = SEGLOSS_DENSE;
  if (where >= 192 && where < 208 && tensor_count) { /* another's very descriptor */
    *t = *tensors[where % tensor_count].tensor;
    return 1;
  }
  t->rank = shape_of(name, shape, t->shape);
  while (!call.shapes_only && t->rank > 0 && count_of(t) > MOST_ELEMENTS) {
    int i, largest = 0;
    for (i = 1; i < t->rank; ++i)
      if (t->shape[i] > t->shape[largest]) largest = i;
    t->shape[largest] /= 2;
  }
  lay_out(t, layout, seed);
  t->data = arena;
  if (hostile(flaw)) spoil(t, (uint8_t)(flaw * 31 + seed));
  if (call.shapes_only) return 1;
  if (must_be_refused(t, &low, &high, &count)) return 1; /* whatever its pointer is */
  if (count > 4 * MOST_ELEMENTS || high - low > ARENA) { /* an honest caller has no such memory */
    int i;
    t->flags = SEGLOSS_DENSE;
    for (i = 0; i < t->rank; ++i) t->shape[i] = t->shape[i] > 3 ? 3 : t->shape[i];
    must_be_refused(t, &low, &high, &count);
  }
  if (!t->data) { /* NULL is a lie that can be seen, unless there is nothing */
    return 1;
  }
  if (where >= 208 && where < 224 && tensor_count) { /* into another's memory */
    const segloss_tensor *other = tensors[where % tensor_count].tensor;
    unsigned char *data = (unsigned char *)other->data + (int8_t)seed;
    if (other->data && data + (int64_t)low >= arena && data + (int64_t)high <= arena + ARENA) t->data = data;
    else t->data = arena - (int64_t)low;
  } else {
    t->data = arena + place((size_t)(high - low), where, seed) - (int64_t)low;
  }
  if (!is_output) fill(t, name, content, seed);
  return 1;
}

static void record(const segloss_tensor *t, int is_output) {
  if (tensor_count == MOST_TENSORS) FAIL("too many tensors");
  tensors[tensor_count].tensor = t;
  tensors[tensor_count++].is_output = is_output;
}

static segloss_tensor *tensor_argument(const char *name, int is_output) {
  segloss_tensor t, *at;
  if (!decode_tensor(&t, name, is_output)) return NULL;
  at = take_copy(&t, sizeof t, 0);
  record(at, is_output);
  return at;
}

/* `count` descriptors, one behind the other. */
static segloss_tensor *tensor_list(const char *const *names, int count, int is_output) {
  segloss_tensor *at = take((size_t)count * sizeof *at, 0);
  int i;
  for (i = 0; i < count; ++i) {
    segloss_tensor t;
    memset(&t, 0, sizeof t);
    decode_tensor(&t, names[i], is_output);
    memcpy(&at[i], &t, sizeof t);
    record(&at[i], is_output);
  }
  return at;
}

/* ---- Structs ---- */

/* Pointers in structs, which a program has to spell. */
typedef struct pointer_record {
  unsigned char *owner;
  size_t at, length_at;
  unsigned char *target;
  size_t size;
} pointer_record;

static pointer_record pointers[8];
static int pointer_count;

static void *decode_struct(const layout *l);

static void decode_array(const field *f, unsigned char *owner) {
  uint8_t b = byte();
  int64_t length, i;
  unsigned char *at;
  if (b < 160) return; /* none */
  length = b < 208 ? call.c : b < 216 ? 1 : b < 240 ? b % 8 : b < 244 ? -1 : b < 248 ? INT64_MIN : INT64_MAX;
  if (length > 256 && length != INT64_MAX) length = 256;
  at = take((size_t)(length < 0 || length > 256 ? 1 : length) * 8, 0);
  for (i = 0; i < (length > 256 ? 1 : length); ++i) {
    double number = 1 + (double)(i % 3);
    int64_t index = i;
    uint8_t v = b % 2 ? byte() : 0;
    if (v >= 128) number = PICK(doubles, v - 128u), index = PICK(integers, v - 128u);
    memcpy(at + i * 8, f->kind == FIELD_DOUBLES ? (void *)&number : (void *)&index, 8);
  }
  if (b == 255) at = NULL;
  memcpy(owner + f->at, &at, sizeof at);
  memcpy(owner + f->length_at, &length, sizeof length);
  if (at && length >= 0 && length <= 256) {
    pointer_record p = {owner, f->at, f->length_at, at, (size_t)length * 8};
    pointers[pointer_count++] = p;
  }
}

static void decode_fields(const layout *l, unsigned char *at) {
  const field *f;
  for (f = l->fields; f->name; ++f) {
    int64_t i = 0;
    int32_t i32;
    double d;
    switch (f->kind) {
    case FIELD_DOUBLE:
      memcpy(&d, at + f->at, 8);
      d = pick_double(d);
      memcpy(at + f->at, &d, 8);
      break;
    case FIELD_INT32: case FIELD_UINT32:
      memcpy(&i32, at + f->at, 4);
      i32 = (int32_t)pick_integer(i32);
      memcpy(at + f->at, &i32, 4);
      break;
    case FIELD_INT64:
      memcpy(&i, at + f->at, 8);
      i = pick_integer(i);
      memcpy(at + f->at, &i, 8);
      break;
    case FIELD_STRUCT: {
      unsigned char *target = byte() < 96 ? NULL : decode_struct(&layouts[f->layout]);
      memcpy(at + f->at, &target, sizeof target);
      if (target) {
        pointer_record p = {at, f->at, 0, target, size_of_slot(target)};
        pointers[pointer_count++] = p;
      }
      break;
    }
    default: decode_array(f, at);
    }
  }
}

/* A struct of the size that it says it has, or of the most that a size may be. */
static void *decode_struct(const layout *l) {
  unsigned char whole[1024], *at;
  uint8_t b = byte(), variant = byte();
  uint32_t size = (uint32_t)l->size;
  size_t memory = l->size;
  memset(whole, 0, sizeof whole);
  if (l->size > sizeof whole / 2) FAIL("%s is large", l->name);
  if (l->defaults) l->defaults(whole, variant % 4);
  if (b >= 252) memory = 4096 < SLOT_BYTES - 64 ? 4096 : 0, size = b == 252 ? 4096 : b == 253 ? 4097 : b == 254 ? UINT32_MAX : 1u << 31;
  else if (b >= 236) memory = size = (uint32_t)l->size + b - 235; /* of a later version */
  else if (b >= 200) size = (b - 200u) * (uint32_t)l->size / 36, memory = size < 4 ? 4 : size;
  if (memory > sizeof whole) {
    at = take(memory, 0);
    memset(at, 0, memory);
    memcpy(at, whole, l->size);
  } else {
    at = take(memory > l->size ? memory : l->size, 0); /* fields are decoded in place, then cut */
    memset(at, 0, memory > l->size ? memory : l->size);
    memcpy(at, whole, l->size);
  }
  decode_fields(l, at);
  memcpy(at, &size, 4);
  if (b >= 236 && b < 252 && variant >= 128) at[memory - 1] = 1; /* asks for something new */
  if (memory < l->size) {
    int k, kept = pointer_count;
    unsigned char *cut = take(memory, 0);
    memcpy(cut, at, memory);
    for (k = 0, pointer_count = 0; k < kept; ++k)
      if (pointers[k].owner != at) pointers[pointer_count++] = pointers[k];
    at = cut;
  }
  return at;
}

static void *decode_parts(const layout *l) {
  uint8_t b = byte();
  size_t memory = l->size;
  uint32_t size = (uint32_t)l->size;
  unsigned char *at;
  if (b >= 250) return NULL;
  if (b >= 244) size = b % 2 ? 5000 : UINT32_MAX, memory = 4096;
  else if (b >= 236) memory = size = (uint32_t)l->size + b - 235;
  else if (b >= 200) size = (b - 200u) * (uint32_t)l->size / 36, memory = size < 4 ? 4 : size;
  at = take(memory, 1);
  memcpy(at, &size, 4);
  return at;
}

/* ---- Programs ---- */

enum { PROGRAM_BYTES = 4096 };

/* Leaves out pointers of structs that nothing points to any more, since a struct above them was cut. */
static void drop_lost_pointers(const unsigned char *options) {
  int i, k, kept = 0, is_held;
  for (i = 0; i < pointer_count; ++i) {
    is_held = pointers[i].owner == options;
    for (k = 0; k < pointer_count; ++k) is_held |= pointers[k].owner == options && pointers[k].target == pointers[i].owner;
    pointers[i].size = is_held ? pointers[i].size : SIZE_MAX;
  }
  for (i = 0; i < pointer_count; ++i)
    if (pointers[i].size != SIZE_MAX) pointers[kept++] = pointers[i];
  pointer_count = kept;
}

static void build_program(void) {
  unsigned char program[PROGRAM_BYTES];
  segloss_program header;
  const program_row *row = &PICK(programs, byte());
  const function_row *f = &functions[row->function];
  uint8_t flaws = byte(), items = byte(), cut = byte(), map_flaws = byte();
  const char *names[MOST_ARGUMENTS];
  int tensors_of_loss = 0, arrays = 0, i, k, first, placed = 0;
  size_t end, at_of[9];
  unsigned char *blocks[9], *options;
  size_t block_sizes[9];
  memset(program, 0, sizeof program);
  memset(&header, 0, sizeof header);
  for (i = 0; i < f->count; ++i) {
    if (f->parameters[i].kind != INPUT && f->parameters[i].kind != LEVELS) continue;
    for (k = 0; k < (f->parameters[i].kind == LEVELS ? (call.levels > 0 && call.levels <= 16 ? call.levels : 1) : 1); ++k)
      names[tensors_of_loss++] = f->parameters[i].name;
  }
  call.program = row;
  first = (int)(pointer_count = 0);
  options = decode_struct(&layouts[row->layout]);
  drop_lost_pointers(options);
  header.struct_size = sizeof header;
  header.non_finite = (int32_t)pick_integer(0);
  strcpy(header.loss, row->loss);
  header.items = items >= 128;
  header.tensors = tensors_of_loss;
  header.pointers = pointer_count;
  header.predictions = call.levels > 1 && !strcmp(row->loss, "structure") ? call.levels : row->predictions;
  end = sizeof header + (size_t)tensors_of_loss * sizeof(segloss_program_tensor) +
        (size_t)pointer_count * sizeof(segloss_program_pointer);
  header.options_at = (uint32_t)end;
  /* The options, then whatever they point to. */
  blocks[placed] = options, at_of[placed] = end, block_sizes[placed] = size_of_slot(options);
  if (block_sizes[0] > 1024) block_sizes[0] = 1024;
  end += (block_sizes[placed++] + 7) / 8 * 8;
  for (i = first; i < pointer_count; ++i) {
    blocks[placed] = pointers[i].target, at_of[placed] = end, block_sizes[placed] = pointers[i].size;
    if (block_sizes[placed] > 1024) block_sizes[placed] = 1024; /* a struct too large to be believed */
    end += (block_sizes[placed++] + 15) / 8 * 8;
  }
  if (end > sizeof program) FAIL("a program of %zu bytes", end);
  for (i = 0; i < placed; ++i) memcpy(program + at_of[i], blocks[i], block_sizes[i]);
  for (i = 0; i < pointer_count; ++i) {
    segloss_program_pointer p;
    uint8_t flaw = byte();
    for (k = 0; k < placed && blocks[k] != pointers[i].owner; ++k) {}
    if (k == placed) FAIL("a pointer without its struct");
    p.at = (uint32_t)(at_of[k] + pointers[i].at);
    p.count_at = pointers[i].length_at ? (uint32_t)(at_of[k] + pointers[i].length_at) : 0;
    for (k = 0; blocks[k] != pointers[i].target; ++k) {}
    p.target = (uint32_t)at_of[k];
    p.bytes = (uint32_t)block_sizes[k];
    memset(program + p.at, 0, 8);
    if (hostile(flaw)) { /* never one that could be right elsewhere: what points where is the program's own affair */
      uint32_t *spoilt = flaw % 4 == 0 ? &p.at : flaw % 4 == 1 ? &p.target : flaw % 4 == 2 ? &p.bytes : &p.count_at;
      *spoilt = flaw % 3 ? UINT32_MAX - flaw % 8 : *spoilt + 1;
    }
    memcpy(program + sizeof header + (size_t)tensors_of_loss * sizeof(segloss_program_tensor) + (size_t)i * sizeof p, &p,
           sizeof p);
  }
  for (i = 0; i < tensors_of_loss; ++i) {
    segloss_program_tensor t = {0, -1, 0, 0};
    uint8_t flaw = map_flaws & 1 ? byte() : 0;
    t.array = arrays;
    if (flaw >= 128) {
      t.channels_last = flaw & 1;
      t.channel = flaw & 2 ? (int32_t)pick_integer(flaw >> 2 & 3) : -1;
      if (flaw & 32) t.array = (int32_t)pick_integer(arrays ? arrays - 1 : 0);
      if (flaw & 64) t.array = -1;
      if (hostile(flaw)) t.reserved = flaw & 1;
    }
    if (t.array == arrays) names[arrays++] = names[i];
    memcpy(program + sizeof header + (size_t)i * sizeof t, &t, sizeof t);
  }
  header.arrays = call.count = arrays;
  if (hostile(flaws)) {
    int32_t *at[] = {&header.items, &header.arrays, &header.predictions, &header.tensors, &header.pointers};
    uint8_t which = byte();
    if (which % 8 < 5) *at[which % 8] = (int32_t)pick_integer(*at[which % 8] + 1);
    if (which % 8 == 4 && header.pointers > 0 && header.pointers < pointer_count) header.pointers = pointer_count + 1;
    if (which % 8 == 5) header.loss[byte() % 32] = (char)byte();
    if (which % 8 == 6) header.options_at = UINT32_MAX - which;
    if (which % 8 == 7) header.struct_size = (uint32_t)pick_integer(0);
    if (which % 16 == 15) call.count = (int32_t)pick_integer(arrays + 1);
  }
  memcpy(program, &header, sizeof header);
  call.program_size = (int64_t)end;
  if (cut >= 192) { /* cut short, or a size that no program has */
    call.program_size = cut < 240 ? (int64_t)(end * (cut - 192u) / 48) : PICK(integers, cut);
    if (call.program_size > (int64_t)end) call.program_size = call.program_size > 1 << 24 ? call.program_size : (int64_t)end;
  }
  call.program_bytes =
      take_copy(program, (size_t)(call.program_size < 0 || call.program_size > (int64_t)end ? 0 : call.program_size), 0);
  call.predictions = header.predictions;
  i = call.count < 0 ? 0 : call.count > 32 ? 32 : call.count;
  for (k = arrays; k < i; ++k) names[k] = "pred";
  call.arrays = tensor_list(names, i, 0);
}

/* What the program makes of its arrays: lengths of arrays, and the value. */
static void ask_program(void) {
  int64_t statistics = 0, parts = 0;
  memset(&call.value, 0, sizeof call.value);
  if (segloss_program_outputs(call.program_bytes, call.program_size, call.arrays, call.count, &statistics, &parts,
                              &call.value, NULL))
    return;
  if (statistics >= 0 && statistics <= MOST_NUMBERS) call.length = statistics;
  if (parts >= 0 && parts <= 128) call.parts_length = parts;
}

static segloss_tensor *program_value(void) {
  __int128 low, high, count;
  segloss_tensor t = call.value, *at;
  uint8_t b = byte();
  if (b >= 192 || t.rank < 0 || t.type_bits == 0) return tensor_argument("value", 1);
  if (b >= 160) return NULL;
  if (must_be_refused(&t, &low, &high, &count) || high - low > ARENA) return NULL;
  t.data = arena + place((size_t)(high - low), b, b);
  at = take_copy(&t, sizeof t, 0);
  record(at, 1);
  return at;
}

static const segloss_tensor **program_gradients(void) {
  int32_t count = call.predictions < 0 ? 0 : call.predictions > 32 ? 32 : call.predictions, i;
  const segloss_tensor **list;
  if (byte() >= 250) return NULL;
  list = take((size_t)count * sizeof *list, 0);
  for (i = 0; i < count; ++i) {
    segloss_tensor t, *at = NULL;
    uint8_t b = byte();
    __int128 low, high, elements;
    if (b < 128 && i < call.count) { /* as its prediction lies, if that can be */
      t = call.arrays[i];
      if (must_be_refused(&t, &low, &high, &elements)) t.rank = 0, t.flags = SEGLOSS_DENSE;
      else if (!must_be_refused(&t, &low, &high, &elements) && t.data)
        t.data = arena + place((size_t)(high - low), b, b) - (int64_t)low;
      if (t.rank == 0 && !t.data) t.data = arena;
      at = take_copy(&t, sizeof t, 0);
      record(at, 1);
    } else if (b < 224) {
      at = tensor_argument("grad", 1);
    }
    list[i] = at;
  }
  return list;
}

/* ---- XLA's frames ---- */

static char xla_message[sizeof(((segloss_error *)0)->message)];

static cxla_error *create_error(cxla_error_create_args *a) {
  size_t i;
  for (i = 0; i < sizeof xla_message && a->message[i]; ++i) xla_message[i] = a->message[i];
  if (i == 0 || i == sizeof xla_message) FAIL("a message for XLA of %zu bytes", i);
  return (cxla_error *)xla_message;
}

static int xla_type(const segloss_tensor *t) {
  static const int xla[] = {CXLA_F32, CXLA_F64, CXLA_F16, CXLA_BF16, CXLA_U8, CXLA_PRED, CXLA_S32, CXLA_S64, 77};
  return xla[type_index(t)];
}

static cxla_buffer *xla_buffer(segloss_tensor t) {
  cxla_buffer b;
  __int128 low, high, count;
  memset(&b, 0, sizeof b);
  b.struct_size = sizeof b;
  t.flags = SEGLOSS_DENSE;
  if (must_be_refused(&t, &low, &high, &count) || high > ARENA) t.rank = 0, high = 8; /* XLA's own are well-formed */
  b.dtype = xla_type(&t);
  b.data = t.data && (unsigned char *)t.data >= arena && (unsigned char *)t.data + (int64_t)high <= arena + ARENA ? t.data : arena;
  b.rank = t.rank;
  b.dims = take_copy(t.shape, (size_t)t.rank * 8, 0);
  return take_copy(&b, sizeof b, 0);
}

static cxla_buffer *xla_statistics(uint8_t b) {
  cxla_buffer buffer;
  int64_t words = (call.length > 0 && call.length <= MOST_NUMBERS ? call.length : 0) * 2;
  memset(&buffer, 0, sizeof buffer);
  if (b >= 128) words = b % 32;
  buffer.struct_size = sizeof buffer;
  buffer.dtype = b >= 240 ? CXLA_F32 : CXLA_U32;
  buffer.data = take((size_t)words * 4, 1);
  buffer.rank = 1;
  buffer.dims = take_copy(&words, 8, 0);
  return take_copy(&buffer, sizeof buffer, 0);
}

static void xla_list(cxla_buffers *list, cxla_buffer **buffers, int count, uint8_t b) {
  int32_t kinds[64];
  int i;
  for (i = 0; i < count; ++i) kinds[i] = CXLA_BUFFER;
  if (b >= 240 && count) kinds[b % count] = 2;
  list->struct_size = sizeof *list;
  list->size = count;
  list->types = take_copy(kinds, (size_t)count * 4, 0);
  list->values = take_copy(buffers, (size_t)count * sizeof *buffers, 0);
}

static void *decode_frame(const char *handler) {
  static cxla_api api;
  cxla_buffer *arguments[64], *results[40];
  cxla_call_frame frame;
  cxla_array program;
  int n = 0, r = 0, i, is_forward = strstr(handler, "forward") != NULL, is_value = strstr(handler, "value") != NULL;
  int32_t kind = CXLA_ATTRIBUTE_ARRAY;
  void *attribute;
  uint8_t flaws = byte(), shape = byte(), list_flaws = byte();
  api.struct_size = sizeof api;
  api.api_version.minor_version = 3;
  api.error_create = create_error;
  memset(&frame, 0, sizeof frame);
  if (flaws == 255) return NULL;
  build_program();
  ask_program();
  for (i = 0; i < call.count && i < 32; ++i) arguments[n++] = xla_buffer(call.arrays[i]);
  if (!is_forward) arguments[n++] = xla_statistics(shape);
  if (!is_forward && !is_value) {
    segloss_tensor t;
    if (!decode_tensor(&t, "grad_output", 0)) t = call.value, t.data = arena;
    arguments[n++] = xla_buffer(t);
    for (i = 0; i < call.predictions && i < 32 && i < call.count; ++i) {
      segloss_tensor gradient;
      decode_tensor(&gradient, "pred", 1);
      if (flaws < 128) memcpy(gradient.shape, call.arrays[i].shape, sizeof gradient.shape), gradient.rank = call.arrays[i].rank;
      results[r++] = xla_buffer(gradient);
    }
  } else {
    segloss_tensor value = call.value, parts;
    value.data = arena;
    if (value.type_bits == 0) value.type_code = SEGLOSS_TYPE_FLOAT, value.type_bits = 32, value.type_lanes = 1, value.device_type = 1, value.flags = 1;
    memset(&parts, 0, sizeof parts);
    parts.data = arena + 1024;
    parts.device_type = 1, parts.type_code = SEGLOSS_TYPE_FLOAT, parts.type_bits = flaws & 1 ? 64 : 32, parts.type_lanes = 1;
    parts.flags = 1, parts.rank = 1, parts.shape[0] = flaws >= 192 ? flaws % 8 : call.parts_length > 0 ? call.parts_length : 0;
    if (is_value || !(flaws & 2)) results[r++] = xla_buffer(value);
    if (is_forward) results[r++] = xla_statistics(shape);
    if (flaws & 4) results[r++] = xla_buffer(parts);
  }
  if (list_flaws >= 192 && list_flaws < 208) n = n ? n - 1 : 0;
  if (list_flaws >= 208 && list_flaws < 224) r = r ? r - 1 : 0;
  if (list_flaws >= 224 && list_flaws < 240) n = 0;
  program.dtype = flaws >= 240 ? CXLA_F32 : CXLA_U8;
  program.size = call.program_size < 0 || call.program_size > PROGRAM_BYTES ? 0 : (size_t)call.program_size;
  program.data = call.program_bytes;
  attribute = take_copy(&program, sizeof program, 0);
  frame.struct_size = sizeof frame;
  frame.api = &api;
  frame.stage = CXLA_STAGE_EXECUTE;
  xla_list(&frame.arguments, arguments, n, list_flaws);
  xla_list(&frame.results, results, r, 0);
  frame.attributes.struct_size = sizeof frame.attributes;
  frame.attributes.size = list_flaws >= 250 ? 0 : 1;
  frame.attributes.types = take_copy(&kind, sizeof kind, 0);
  frame.attributes.values = take_copy(&attribute, sizeof attribute, 0);
  return take_copy(&frame, sizeof frame, 0);
}

/* ---- Arguments ---- */

static void run_in_a_loop(void *context, int32_t count, segloss_task task, void *task_context) {
  (void)context;
  while (count-- > 0) task(task_context, count);
}

static void team_of_one(segloss_omp_body body, void *data, uint32_t threads, uint32_t flags) {
  (void)threads, (void)flags;
  body(data);
}

static int32_t team_size(void) { return 3; }

static double *number_array(int64_t length, int is_output) {
  int64_t held = length < 0 ? 0 : length > MOST_NUMBERS ? MOST_NUMBERS : length, i;
  uint8_t b = byte();
  double *at = take((size_t)held * 8, is_output);
  for (i = 0; i < held && !is_output; ++i) {
    double number = b < 64 ? 1 + (double)(i % 5) : b < 96 ? 0 : PICK(doubles, noise(b, (uint32_t)i));
    memcpy((char *)at + i * 8, &number, 8);
  }
  return at;
}

static value decode_argument(const function_row *f, int index) {
  const parameter *p = &f->parameters[index];
  value v;
  uint8_t b;
  memset(&v, 0, sizeof v);
  switch (p->kind) {
  case INPUT:
    if (!strcmp(f->name, "segloss_ctpn_anchor_targets") && (!strcmp(p->name, "line_boxes") || !strcmp(p->name, "heights")) &&
        byte() < 128)
      break;
    v.p = tensor_argument(p->name, 0);
    break;
  case OUTPUT:
    v.p = !strcmp(p->name, "value") && call.program ? program_value() : tensor_argument(p->name, 1);
    break;
  case LEVELS: case LEVEL_GRADIENTS: {
    const char *names[16];
    int i, count = call.levels < 1 ? 1 : call.levels > 16 ? 16 : call.levels;
    for (i = 0; i < 16; ++i) names[i] = p->kind == LEVELS ? "pred" : "grad_pred";
    if (byte() < 240) v.p = tensor_list(names, count, p->kind == LEVEL_GRADIENTS);
    break;
  }
  case LEVEL_COUNT: v.i = call.levels; break;
  case LEVEL_PARTS: v.p = byte() >= 192 ? NULL : take((size_t)(call.levels < 0 ? 0 : call.levels > 16 ? 16 : call.levels) * 24, 1); break;
  case PROGRAM:
    build_program();
    call.shapes_only = 0;
    ask_program();
    v.p = byte() >= 250 ? NULL : call.program_bytes;
    break;
  case PROGRAM_SIZE: v.i = call.program_size; break;
  case ARRAYS: v.p = byte() >= 250 ? NULL : call.arrays; break;
  case ARRAY_COUNT: v.i = call.count; break;
  case GRADIENTS: v.p = (void *)program_gradients(); break;
  case DESCRIPTION: v.p = byte() >= 224 ? NULL : take(sizeof(segloss_tensor), 1); break;
  case OPTIONS: v.p = byte() >= 240 ? NULL : decode_struct(&layouts[p->layout]); break;
  case PARTS: v.p = decode_parts(&layouts[p->layout]); break;
  case ERROR:
    call.error = byte() >= 224 ? NULL : take(sizeof(segloss_error), 2);
    v.p = call.error;
    break;
  case DOUBLE: v.d = !strncmp(p->name, "image", 5) ? pick_double(64) : pick_double(-1.75); break;
  case INT32: case UINT32: case INT64: v.i = pick_integer(1); break;
  case STATISTICS_IN: case STATISTICS_OUT: case PROGRAM_PARTS: case LENGTH: case PARTS_LENGTH: case COUNT_OUT:
    b = byte();
    if (p->kind == COUNT_OUT) {
      v.p = b >= 224 ? NULL : take(8, 1);
    } else if (p->kind == LENGTH || p->kind == PARTS_LENGTH) { /* the array before it has it */
      v.i = p->kind == LENGTH ? call.length : call.parts_length;
    } else {
      int64_t *length = p->kind == PROGRAM_PARTS ? &call.parts_length : &call.length;
      if (b >= 192) *length = b < 224 ? *length * (b % 4) : b < 240 ? *length + 1 : PICK(integers, b);
      else if (p->kind != PROGRAM_PARTS) call.asks_length = !call.program;
      /* As many as are said to be there are read: more than there are is beyond what a library can refuse. */
      if (p->kind == STATISTICS_IN && *length > MOST_NUMBERS) *length = -*length;
      call.wants_real_statistics = b < 128;
      v.p = b == 255 ? NULL : number_array(*length, p->kind != STATISTICS_IN);
      if (p->kind == PROGRAM_PARTS) call.program_parts = v.p;
      else call.statistics = v.p;
    }
    break;
  case GENERATOR:
    if (byte() >= 128) {
      segloss_mt19937 generator;
      segloss_mt19937_seed(&generator, byte());
      if ((b = byte()) >= 128) generator.position = (int32_t)PICK(integers, b);
      v.p = take_copy(&generator, sizeof generator, 1);
    } else if (!strcmp(f->name, "segloss_mt19937_seed")) {
      v.p = take(sizeof(segloss_mt19937), 1);
    }
    break;
  case TEAM: v.i = byte() < 128 ? (int64_t)(intptr_t)team_of_one : 0; break;
  case TEAM_SIZE: v.i = byte() < 128 ? (int64_t)(intptr_t)team_size : 0; break;
  case RUNNER: v.i = byte() < 128 ? (int64_t)(intptr_t)run_in_a_loop : 0; break;
  case CONTEXT: break;
  case FRAME: v.p = decode_frame(f->name); break;
  default: FAIL("%s: a kind of parameter without a decoder", f->name);
  }
  return v;
}

/* What the function's loss is like, as far as good shapes depend on it. */
static void look_at(const char *name) {
  static const char *const scores[] = {"segloss_dice", "segloss_iou", "segloss_tversky", "segloss_focal_tversky"};
  size_t i;
  call.has_positions = strstr(name, "cross_entropy") != NULL;
  call.shapes_only = !strcmp(name, "segloss_program_outputs");
  call.anchors = !strcmp(name, "segloss_ctpn_anchor_targets") ? 10 : call.anchors;
  if (!strstr(name, "_items")) return;
  if (call.has_positions) call.items = POSITIONS;
  if (strstr(name, "structure") || strstr(name, "boundary")) call.items = PLANES;
  for (i = 0; i < sizeof scores / sizeof *scores; ++i)
    if (!strncmp(name, scores[i], strlen(scores[i]))) call.items = SCORES;
}

/* ---- What must hold ---- */

static int is_utf8(const char *text) {
  const unsigned char *c = (const unsigned char *)text;
  while (*c) {
    int more = *c < 0x80 ? 0 : *c >= 0xC2 && *c < 0xE0 ? 1 : *c >= 0xE0 && *c < 0xF0 ? 2 : *c >= 0xF0 && *c < 0xF5 ? 3 : -1;
    if (more < 0) return 0;
    for (++c; more > 0; --more, ++c)
      if (*c < 0x80 || *c >= 0xC0) return 0;
  }
  return 1;
}

static void check_error(const function_row *f, int32_t status) {
  const segloss_error *e = call.error;
  if (strcmp(segloss_status_name(status), "SEGLOSS_UNKNOWN") == 0) FAIL("%s returned %d", f->name, status);
  if (!e) return;
  if (e->status != status) FAIL("%s returned %d, its error says %d", f->name, status, e->status);
  if (!memchr(e->message, 0, sizeof e->message)) FAIL("%s: a sentence without an end", f->name);
  if ((e->message[0] == 0) != (status == 0)) FAIL("%s: status %d with the sentence \"%s\"", f->name, status, e->message);
  if (!is_utf8(e->message)) FAIL("%s: a sentence that is not UTF-8", f->name);
}

/* Status -1: not one that says what was written. */
static void check_memory(const function_row *f, int32_t status) {
  int argument_refused = status > 0 && status != SEGLOSS_OUT_OF_RANGE && status != SEGLOSS_NON_FINITE, i;
  size_t k;
  for (i = 0; i < slot_count; ++i) {
    slot *s = &slots[i];
    for (k = 1; k <= 64; ++k)
      if (s->at[-(ptrdiff_t)k] != MARK) FAIL("%s wrote before argument memory %d", f->name, i);
    if ((!s->is_output || (s->is_output == 1 && argument_refused)) && memcmp(s->at, s->copy, s->size) != 0)
      FAIL("%s (%s) wrote to memory %d, of %zu bytes", f->name, segloss_status_name(status), i, s->size);
  }
  if (memcmp(arena, shadow, ARENA) == 0) return;
  if (argument_refused)
    FAIL("%s (%s: %s) wrote to an array", f->name, segloss_status_name(status), call.error ? call.error->message : "");
  if (!strncmp(f->name, "segloss_xla", 11)) return;
  memset(described, 0, sizeof described);
  for (i = 0; i < tensor_count; ++i) {
    const segloss_tensor *t = tensors[i].tensor;
    __int128 low, high, count;
    int64_t e;
    if (!tensors[i].is_output || must_be_refused(t, &low, &high, &count) || !t->data || count > 4 * MOST_ELEMENTS) continue;
    for (e = 0; e < (int64_t)count; ++e) memset(described + (element(t, e) - arena), 1, t->type_bits / 8);
  }
  for (k = 0; k < ARENA; ++k)
    if (arena[k] != shadow[k] && !described[k]) FAIL("%s wrote outside its outputs, at %zu", f->name, k);
}

/* The length that a refusal asks for, or -1. */
static int64_t asked_length(void) {
  const char *start = "statistics: expected ";
  long long length = -1;
  if (call.error && !strncmp(call.error->message, start, strlen(start)))
    length = strtoll(call.error->message + strlen(start), NULL, 10);
  return length >= 0 && length <= MOST_NUMBERS ? length : -1;
}

static const function_row *find_function(const char *name) {
  int i;
  for (i = 0; i < FUNCTIONS; ++i)
    if (!strcmp(functions[i].name, name)) return &functions[i];
  return NULL;
}

/* Statistics of the same arguments, for the second phase. */
static void compute_statistics(const function_row *f, const value *arguments) {
  char name[80];
  const function_row *first;
  value own[MOST_ARGUMENTS];
  int i, k;
  size_t length = strlen(f->name) - strlen("_finish");
  if (length + 12 > sizeof name) return;
  memcpy(name, f->name, length);
  strcpy(name + length, "_statistics");
  if (!(first = find_function(name))) return;
  for (i = 0; i < first->count; ++i) {
    memset(&own[i], 0, sizeof own[i]);
    for (k = 0; k < f->count; ++k)
      if (!strcmp(first->parameters[i].name, f->parameters[k].name)) own[i] = arguments[k];
  }
  first->call(own);
}

static void remember(void) {
  int i;
  memcpy(shadow, arena, ARENA);
  for (i = 0; i < slot_count; ++i) memcpy(slots[i].copy, slots[i].at, slots[i].size);
}

/* The functions of a program also take their arguments in a struct; a byte says how. */
static int64_t run(const function_row *f, const value *a) {
  static const char *const tasks[] = {"forward", "value_and_gradient", "value", "gradient"};
  segloss_program_call c = {sizeof c, 0, NULL, 0, NULL, 0, 0, NULL, NULL, NULL, 0, 0, NULL, NULL};
  const int is_program = !strncmp(f->name, "segloss_program_", 16);
  const uint8_t way = is_program ? byte() : 0;
  int i, k;
  while (is_program && c.task < 4 && strcmp(f->name + 16, tasks[c.task])) ++c.task;
  if (way < 128 || c.task == 4) return f->call(a);
  for (i = 0; i < f->count; ++i) {
    const char *name = f->parameters[i].name;
    if (!strcmp(name, "program")) c.program = a[i].p;
    if (!strcmp(name, "size")) c.size = a[i].i;
    if (!strcmp(name, "arrays")) c.arrays = a[i].p;
    if (!strcmp(name, "count")) c.count = (int32_t)a[i].i;
    if (!strcmp(name, "statistics")) c.statistics = a[i].p;
    if (!strcmp(name, "length")) c.length = a[i].i;
    if (!strcmp(name, "parts")) c.parts = a[i].p;
    if (!strcmp(name, "parts_length")) c.parts_length = a[i].i;
    if (!strcmp(name, "value") || !strcmp(name, "grad_output")) c.number = a[i].p;
    if (!strcmp(name, "gradients")) c.gradients = a[i].p;
  }
  if (way & 1) {
    void *addresses[65];
    int arrays = c.count < 0 ? 0 : c.count > 32 ? 32 : c.count, gradients = call.predictions < 0 ? 0 : call.predictions;
    if (gradients > 32) gradients = 32;
    for (k = 0; k < arrays; ++k) addresses[k] = c.arrays ? c.arrays[k].data : NULL;
    addresses[k++] = c.number ? c.number->data : NULL;
    for (i = 0; i < gradients; ++i) addresses[k++] = c.gradients && c.gradients[i] ? c.gradients[i]->data : NULL;
    if (way & 2) addresses[way % k] = NULL;
    c.addresses = take_copy(addresses, (size_t)k * sizeof *addresses, 0);
  }
  if (way >= 248) c.struct_size = (uint32_t)PICK(integers, way);
  if (way >= 240 && way < 248) { /* none: another one would write what is an input here */
    c.task = (int32_t)PICK(integers, way);
    if (c.task >= 0 && c.task < 4) c.task = 4;
  }
  /* A size that is larger than the struct is one of zeros behind it. */
  {
    char *at = take(c.struct_size > sizeof c && c.struct_size <= 512 ? c.struct_size : sizeof c, 0);
    memset(at, 0, size_of_slot(at));
    memcpy(at, &c, sizeof c);
    remember();
    return segloss_program_run(way == 255 ? NULL : (const segloss_program_call *)at, call.error);
  }
}

/* How often each function was called, and went well. */
static long calls[FUNCTIONS], successes[FUNCTIONS];

static void count_call(const function_row *f, int64_t result) {
  ++calls[f - functions];
  successes[f - functions] += f->returns == RETURNS_STATUS ? result == SEGLOSS_OK : f->returns == RETURNS_TEXT ? result != 0 : 1;
}

static void set_up(void) {
  arena = guarded(ARENA);
  /* Small calls, on one thread: how many there are, concurrent.c tries. */
  segloss_set_num_threads(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const function_row *f;
  value arguments[MOST_ARGUMENTS];
  int64_t result, length;
  int i;
  uint8_t types_byte;
  if (!arena) set_up();
  bytes = data, bytes_left = size;
  slot_count = tensor_count = pointer_count = 0;
  cursor = 0;
  memset(&call, 0, sizeof call);
  memset(arena, MARK, ARENA);
  f = &functions[byte() % FUNCTIONS];
  call.n = PICK(sizes, byte() + 2u), call.c = PICK(sizes, byte() + 3u), call.h = PICK(sizes, byte());
  call.w = PICK(sizes, byte() + 4u);
  types_byte = byte();
  call.float_type = types_byte % 8 < 5 ? F32 : types_byte % 4;
  call.label_type = types_byte / 8 % 8 < 4 ? U8 : types_byte / 8 % 8;
  call.has_class_labels = types_byte >> 6 & 1;
  call.anchors = 1 + (types_byte >> 7);
  call.levels = (int32_t)pick_integer(types_byte % 5 == 4 ? 3 : 1);
  look_at(f->name);
  for (i = 0; i < f->count; ++i) arguments[i] = decode_argument(f, i);
  remember();
  result = run(f, arguments);
  count_call(f, result);
  if (f->returns == RETURNS_STATUS) {
    check_error(f, (int32_t)result);
    check_memory(f, (int32_t)result);
    if (result == SEGLOSS_STATISTICS && call.asks_length && (length = asked_length()) >= 0) {
      call.length = length;
      call.statistics = number_array(length, strstr(f->name, "_finish") == NULL);
      for (i = 0; i < f->count; ++i) {
        if (f->parameters[i].kind == LENGTH) arguments[i].i = length;
        if (f->parameters[i].kind == STATISTICS_IN || f->parameters[i].kind == STATISTICS_OUT) arguments[i].p = call.statistics;
      }
      if (call.wants_real_statistics && strstr(f->name, "_finish")) compute_statistics(f, arguments);
      remember();
      result = f->call(arguments);
      count_call(f, result);
      check_error(f, (int32_t)result);
      check_memory(f, (int32_t)result);
    }
  } else if (f->returns == RETURNS_TEXT) {
    if (result && strlen((const char *)(intptr_t)result) > 100) FAIL("%s: a long name", f->name);
  } else {
    check_memory(f, -1);
  }
  segloss_set_runner(NULL, NULL, 0);
  segloss_set_openmp(NULL, NULL);
  segloss_set_num_threads(2);
  return 0;
}
