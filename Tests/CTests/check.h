/* What the C tests share: checks that are counted, element types, and numbers to fill tensors with. */
#ifndef SEGLOSS_TESTS_CHECK_H
#define SEGLOSS_TESTS_CHECK_H

#include <losses.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long checks, failures;

/* CHECK(condition, format, ...) counts, and says where and what if the condition does not hold. */
#define CHECK(condition, ...) check((condition) != 0, __FILE__, __LINE__, #condition, __VA_ARGS__)

static inline int check(int holds, const char *file, int line, const char *condition, const char *format, ...) {
  va_list arguments;
  ++checks;
  if (holds) return 1;
  if (++failures > 8) return 0; /* enough to see what is wrong */
  printf("%s:%d: failed: %s: ", file, line, condition);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
  fflush(stdout);
  return 0;
}

/* The last line of a program, and its exit status. */
static inline int report(const char *program) {
  printf("%s: %ld checks, %ld failed (%s)\n", program, checks, failures, segloss_instruction_set(NULL));
  return failures != 0;
}

/* ---- Element types ---- */

enum { F32, F64, F16, BF16, U8, BOOL, I32, I64, TYPES };

static const struct {
  const char *name;
  uint8_t code, bits;
} types[TYPES] = {{"f32", SEGLOSS_TYPE_FLOAT, 32}, {"f64", SEGLOSS_TYPE_FLOAT, 64}, {"f16", SEGLOSS_TYPE_FLOAT, 16},
                  {"bf16", SEGLOSS_TYPE_BFLOAT, 16}, {"u8", SEGLOSS_TYPE_UINT, 8}, {"bool", SEGLOSS_TYPE_BOOL, 8},
                  {"i32", SEGLOSS_TYPE_INT, 32}, {"i64", SEGLOSS_TYPE_INT, 64}};

static inline size_t size_of(int type) { return types[type].bits / 8; }

/* Stores a number that the type holds exactly. */
static inline void put(void *at, int type, double value) {
  float f = (float)value;
  uint32_t bits;
  uint16_t half = 0;
  int32_t i32;
  int64_t i64;
  int exponent;
  switch (type) {
  case F32: memcpy(at, &f, 4); return;
  case F64: memcpy(at, &value, 8); return;
  case F16: /* zero, or neither too large nor too small for a normal number */
    if (value != 0) {
      double m = frexp(fabs(value), &exponent); /* 0.5 <= m < 1 */
      half = (uint16_t)((value < 0 ? 0x8000 : 0) | (exponent + 14) << 10 | (int)(m * 2048 - 1024));
    }
    memcpy(at, &half, 2);
    return;
  case BF16:
    memcpy(&bits, &f, 4);
    half = (uint16_t)(bits >> 16);
    memcpy(at, &half, 2);
    return;
  case I32:
    i32 = (int32_t)value;
    memcpy(at, &i32, 4);
    return;
  case I64:
    i64 = (int64_t)value;
    memcpy(at, &i64, 8);
    return;
  default: *(uint8_t *)at = (uint8_t)value;
  }
}

/* Reads a float32, float64 or int64. */
static inline double get(const void *at, int type) {
  float f;
  double d;
  int64_t i;
  if (type == I64) {
    memcpy(&i, at, 8);
    return (double)i;
  }
  if (type == F64) {
    memcpy(&d, at, 8);
    return d;
  }
  memcpy(&f, at, 4);
  return f;
}

/* ---- Tensors ---- */

/* Dense N x H x W without memory yet. */
static inline segloss_tensor tensor_of(int type, int64_t n, int64_t h, int64_t w) {
  int64_t shape[3];
  shape[0] = n;
  shape[1] = h;
  shape[2] = w;
  return segloss_from_dlpack(NULL, SEGLOSS_DEVICE_CPU, 0, 3, types[type].code, types[type].bits, 1, shape, NULL, 0);
}

static inline int64_t count_of(const segloss_tensor *t) {
  int64_t count = 1;
  int i;
  for (i = 0; i < t->rank; ++i) count *= t->shape[i];
  return count;
}

/* Writes out the strides that SEGLOSS_DENSE stands for. */
static inline void spell_strides(segloss_tensor *t) {
  int64_t stride = 1;
  int i;
  for (i = t->rank - 1; i >= 0; --i) {
    t->strides[i] = stride;
    stride *= t->shape[i];
  }
  t->flags = 0;
}

/* Where element `index` in logical order is. */
static inline unsigned char *element(const segloss_tensor *t, int64_t index) {
  int64_t offset = 0;
  int i;
  if (t->flags & SEGLOSS_DENSE) {
    offset = index;
  } else {
    for (i = t->rank - 1; i >= 0; --i) {
      offset += index % t->shape[i] * t->strides[i];
      index /= t->shape[i];
    }
  }
  return (unsigned char *)t->data + offset * (t->type_bits / 8);
}

/* Whether two tensors hold the same bits in logical order. */
static inline int same_elements(const segloss_tensor *a, const segloss_tensor *b) {
  int64_t i, count = count_of(a);
  size_t size = a->type_bits / 8;
  if ((a->flags & b->flags) & SEGLOSS_DENSE) return memcmp(a->data, b->data, (size_t)count * size) == 0;
  for (i = 0; i < count; ++i)
    if (memcmp(element(a, i), element(b, i), size) != 0) return 0;
  return 1;
}

/* Small numbers that look random and are the same everywhere. */
static inline uint32_t noise(uint32_t seed, uint32_t i) {
  uint32_t x = (i + 1) * 2654435761u ^ (seed + 1) * 2246822519u;
  x ^= x >> 15;
  x *= 2246822519u;
  x ^= x >> 13;
  x *= 3266489917u;
  return (x ^ x >> 16) >> 3;
}

#endif
