/* The contract between the losses and the inner loops: what every instruction set provides.

   A kernel works on one block of at most KERNEL_BLOCK elements that lie side by side, in one compute type.
   The count `n` is a multiple of KERNEL_LANES: callers pad the last block with zeros. Pointers need no alignment.
   Kernels that sum add in float32 for KERNEL_SUM_BLOCK elements, then to KERNEL_SUM_LANES float64 lanes for each sum,
   one sum after the other. The order depends on the elements' positions alone, so that results have the same bits at
   every level. */
#ifndef KERNEL_TABLE_H
#define KERNEL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum {
  KERNEL_BLOCK = 8192,          /* elements: 32 KB of float32. Long enough for the hardware's prefetcher to follow, which
                                   starts anew at every run (blocks of 1024 take 1.3 times as long, unless asked
                                   for ahead); short enough that a dozen operands stay in the L2 cache */
  KERNEL_COLUMNS = 5,           /* columns that are turned round eight by eight; fewer are read one by one */
  KERNEL_SUM_BLOCK = 1024,      /* elements whose partial sums are float32 */
  KERNEL_WINDOW = 9,            /* windows up to this are taken element by element, larger ones in a few steps for any size */
  KERNEL_LANES = 32,            /* element i adds to partial sum i mod 32 */
  KERNEL_SUM_LANES = 16         /* float64 lanes that those add to */
};

#pragma clang assume_nonnull begin

/* Asks for the cache line at an address, which may be anything, because it is read soon. */
static inline void kernel_prefetch(const void *address) { __builtin_prefetch(address); }

/* The kernels of one compute type, float32 or float64. */
typedef struct {
  /* Weights (m, w, inside) may be NULL: 1. A block padded with zeros then needs a mask that ends where it does. */

  /* Overlap of p with y under the mask m: sum p*y*m, sum p*(1-y)*m, sum (1-p)*y*m; q is 1-p, NULL if it is to be
     subtracted. The same of p = sigmoid(x), and with a fourth sum, of the cross-entropy times m. */
  void (*overlap)(const void *p, const void *_Nullable q, const void *y, const void *_Nullable m, long n, double *sums);
  void (*overlap_logits)(const void *x, const void *y, const void *_Nullable m, long n, double *sums);
  void (*overlap_bce_logits)(const void *x, const void *y, const void *_Nullable m, long n, double *sums);
  /* out = m*((a*y + b)*p*(1-p) + c*(p-y)) with p = sigmoid(x) */
  void (*overlap_logits_gradient)(const void *x, const void *y, const void *_Nullable m, double a, double b, double c,
                                  void *out, long n);
  /* out = m*(a*g + b) */
  void (*masked_affine)(const void *g, const void *_Nullable m, double a, double b, void *out, long n);
  /* Absolute difference under a mask: sum |t-u|*m, sum m; and out = c*m*sgn(t-u). */
  void (*difference)(const void *t, const void *u, const void *m, long n, double *sums);
  void (*difference_gradient)(const void *t, const void *u, const void *m, double c, void *out, long n);

  /* Weights of positives and negatives: g*m and (1-g)*m, or both truncated to what a byte holds. */
  void (*balance_weights)(const void *g, const void *m, void *positive, void *negative, long n);
  void (*balance_weights_u8)(const void *g, const void *m, void *positive, void *negative, long n);
  /* sum a; sum a, sum b; sum a*b */
  void (*sum)(const void *a, long n, double *sums);
  void (*sum2)(const void *a, const void *b, long n, double *sums);
  void (*dot)(const void *a, const void *b, long n, double *sums);
  /* out = a*b + 0 (the 0 turns -0 into +0); out = 0; out = c*a; out += c*a; out = m != 0 ? a : 0 */
  void (*product)(const void *a, const void *b, void *out, long n);
  void (*clear)(void *out, long n);
  void (*scale)(const void *a, double c, void *out, long n);
  void (*add_scaled)(const void *a, double c, void *out, long n);
  void (*keep)(const void *a, const void *m, void *out, long n);

  /* Binary cross-entropy of each element from probabilities (with log(1-p), or with log1p(-p)) or from logits (positives
     times a), and its derivative by p or x times c*w; both: the one to value and the other to out. */
  void (*bce_log)(const void *p, const void *g, void *out, long n);
  void (*bce_log1p)(const void *p, const void *g, void *out, long n);
  void (*bce_logits)(const void *x, const void *y, double a, void *out, long n);
  void (*bce_gradient)(const void *p, const void *g, const void *_Nullable w, double c, void *out, long n);
  void (*bce_logits_gradient)(const void *x, const void *y, const void *_Nullable w, double a, double c, void *out,
                              long n);
  void (*bce_logits_both)(const void *x, const void *y, const void *_Nullable w, double a, double c, void *value, void *out,
                          long n);

  /* Focal loss of each element, positives times `positive`, the rest times `negative`; from logits, or from probabilities
     and their cross-entropy l; derivatives times c*w. */
  void (*focal_logits)(const void *x, const void *y, double positive, double negative, double gamma, void *out, long n);
  void (*focal_logits_gradient)(const void *x, const void *y, const void *_Nullable w, double positive, double negative,
                                double gamma, double c, void *out, long n);
  void (*focal_logits_both)(const void *x, const void *y, const void *_Nullable w, double positive, double negative,
                            double gamma, double c, void *value, void *out, long n);
  void (*focal)(const void *p, const void *y, const void *l, double positive, double negative, double gamma, void *out,
                long n);
  void (*focal_gradient)(const void *p, const void *y, const void *l, const void *_Nullable w, double positive,
                         double negative, double gamma, double c, void *out, long n);

  /* Smooth L1 of d = inside*(a-b): d*d/(2*beta) if |d| < beta, else |d| - beta/2; its derivative by a times c*w. */
  void (*smooth_l1)(const void *a, const void *b, const void *_Nullable inside, double beta, void *out, long n);
  void (*smooth_l1_gradient)(const void *a, const void *b, const void *_Nullable inside, const void *_Nullable w,
                             double beta, double c, void *out, long n);

  /* Softmax over the planes of several classes: x and out are their addresses, those of p, q and g lie `pitch` bytes apart;
     tile is scratch of (classes + 2)*min(n, 128) elements. p and q = 1-p. out = p*(g - sum of p*g). The largest x, and log(sum of e^(x - largest)). */
  void (*softmax)(const void *_Nonnull const *_Nonnull x, long classes, void *tile, void *p, void *q, long pitch,
                  long n);
  void (*softmax_gradient)(const void *p, const void *q, const void *g, long classes, long pitch,
                           void *_Nonnull const *_Nonnull out, long n);
  /* Cross-entropy with labels, whose classes count h times (0: not at all): l = -h*log p of the label's class; if out is
     given, c*h*p less c*h for the label's class. Smoothed: class k counts f*spread[k] too; behind those are the sum of the
     others' for each class, and of all. out = w*weights[label]. */
  void (*cross_entropy_labels)(const void *_Nonnull const *_Nonnull x, long classes, const void *labels, const void *h,
                               double c, void *tile, void *l, void *_Nonnull const *_Nullable out, long n);
  void (*cross_entropy_smoothed)(const void *_Nonnull const *_Nonnull x, long classes, const void *labels, const void *h,
                                 const void *f, const double *spread, double c, void *tile, void *l,
                                 void *_Nonnull const *_Nullable out, long n);
  void (*label_weights)(const void *labels, const double *weights, long classes, const void *w, void *out, long n);
  void (*log_sum_exp)(const void *_Nonnull const *_Nonnull x, long classes, void *tile, void *largest, void *rest, long n);
  /* One class of a cross-entropy with target weights t, whose planes lie `pitch` bytes apart: l += t*(largest - x + rest);
     the largest t and the sum of the others; out = c*(p*total - t). Nothing where t, or the total of all t, is 0. */
  void (*cross_entropy_add)(const void *x, const void *largest, const void *rest, const void *t, void *l, long n);
  void (*cross_entropy_targets)(const void *t, long classes, long pitch, void *largest, void *others, long n);
  void (*cross_entropy_gradient)(const void *p, const void *q, const void *t, const void *largest, const void *others,
                                 double c, void *out, long n);

  /* out = labels == c; out = y != ignored ? m : 0; out = 1 for the first `count`, then 0 */
  void (*one_hot)(const void *labels, double c, void *out, long n);
  void (*not_ignored)(const void *y, double ignored, const void *_Nullable m, void *out, long n);
  void (*ones)(long count, void *out, long n);

  /* out = k*(a-b); out = sigmoid(u); out = c*h*sigmoid(u)*(1-sigmoid(u)) */
  void (*scaled_difference)(const void *a, const void *b, double k, void *out, long n);
  void (*sigmoid)(const void *u, void *out, long n);
  void (*sigmoid_gradient)(const void *u, const void *h, double c, void *out, long n);

  /* Whether every element is 0 or 1; lies in [0, 1] or equals `exempt` (NaN: none does); is finite. */
  bool (*is_binary)(const void *a, long n);
  bool (*is_probability)(const void *a, double exempt, long n);
  bool (*is_finite)(const void *a, long n);
  /* Whether every element is a whole number in [0, classes), or equals `ignored` (NaN: none does). */
  bool (*are_labels)(const void *a, double classes, double ignored, long n);

  /* Selection of the largest, by order keys of `key_bits` bits: unsigned integers that sort as the values do,
     -0 with +0, NaN above everything. Counts the `bits` bits of the keys above the lowest `shift`, among elements whose
     bits above those are `prefix`; `count` is the true number of elements. */
  int key_bits;
  void (*histogram)(const void *v, long count, int shift, int bits, uint64_t prefix, uint32_t *counts);
  double (*value_of_key)(uint64_t key);
  /* sum of the elements whose key, less its last `shift` bits, is greater than `prefix` */
  void (*sum_above)(const void *v, int shift, uint64_t prefix, long n, double *sums);
  /* how many of the first `count` equal the threshold */
  long (*count_equal)(const void *v, double threshold, long count);
  /* out = w where v > threshold, or v = threshold at a position <= last; else 0 (in the order of the keys) */
  void (*selected)(const void *v, const void *w, double threshold, long last, void *out, long n);

  /* Hard negatives of whole images (PSENet). out = p in the pool (g <= 1/2, and m > 1/2 if clean), else -inf;
     sums: positives (g > 1/2 and m > 1/2) and the pool, of the first `count`. */
  void (*ohem_pool)(const void *p, const void *g, const void *m, bool clean, void *out, long count, double *sums);
  /* out = 1 where (p >= threshold or g > 1/2) and m > 1/2, else 0 */
  void (*ohem_mask)(const void *p, const void *g, const void *m, double threshold, void *out, long n);

  /* Structure: means over square windows, a row at a time. sums += entering - leaving (NULL: 0) down the columns; then
     out = 1 + gain*|mean - y| for the first `count` columns, 0 after; the mean is over `divisor` elements, times widths where
     given. columns, fours, sixteens and widths are float64, or of the elements' type if narrow: the same result of whole
     numbers whose sums are. They point at column 0 and lie in zeros: 16 before and 48 after n; 16 and 32; 2*radius + 32 and
     radius + 16. fours and sixteens are scratch. */
  void (*column_sums)(void *sums, const void *_Nullable entering, const void *_Nullable leaving, long n, bool narrow);
  void (*window_weights)(const void *columns, void *fours, void *sixteens, long radius, const void *y,
                         const void *_Nullable widths, double divisor, double gain, long count, void *out, long n,
                         bool narrow);
  /* p = sigmoid(x): overlap under w as above, and sum of the cross-entropy times m;
     out = w*(a*y + b)*p*(1-p) + (c + d*w)*(p-y) */
  void (*structure)(const void *x, const void *y, const void *w, const void *_Nullable m, long n, double *sums);
  void (*structure_gradient)(const void *x, const void *y, const void *w, double a, double b, double c, double d,
                             void *out, long n);
  /* Of each pixel u = (p*(1-y) + (1-p)*y)/(p + y - p*y + smooth), or 0/0 = 0: sum u*w, sum of the cross-entropy times w;
     out = c*w*(p - y + du/dp*p*(1-p)) */
  void (*structure_pixels)(const void *x, const void *y, const void *w, double smooth, long n, double *sums);
  void (*structure_pixels_gradient)(const void *x, const void *y, const void *w, double smooth, double c, void *out,
                                    long n);

  /* p = sigmoid(u), q = 1 - sigmoid(u) */
  void (*sigmoids)(const void *u, void *p, void *q, long n);
  /* Active contour, a row at a time: a = p[i + reach*pitch] - p[i + (reach-1)*pitch], b = p[i + reach] - p[i + reach-1],
     S = sqrt(a*a + b*b + 1e-8); q = 1-p and x are given for logits x. sum S of the first `count` columns; the same and
     down = a/S and across = b/S of those, 0 after. Region: sum p*(y-inner)^2 + (1-p)*(y-outer)^2.
     out = c*(down1 - down0 + across1 - across0) + d*((y-inner)^2 - (y-outer)^2), times p*q where given. */
  void (*contour_length)(const void *p, const void *_Nullable q, const void *_Nullable x, long reach, long pitch,
                         long count, long n, double *sums);
  void (*contour_slopes)(const void *p, const void *_Nullable q, const void *_Nullable x, long reach, long pitch,
                         long count, void *down, void *across, long n, double *sums);
  void (*contour_region)(const void *p, const void *_Nullable q, const void *y, double inner, double outer, long count,
                         long n, double *sums);
  void (*contour_gradient)(const void *down1, const void *down0, const void *across1, const void *across0, const void *y,
                           const void *_Nullable p, const void *_Nullable q, double inner, double outer, double c,
                           double d, void *out, long n);
  /* Windows over whole numbers as wide as the compute type ("keys", at least 0; -1 is outside and never wins), the first of
     equal ones counting. A row's window is 2*radius + 1; codes are offsets from the centre; line and code_line are scratch of
     n + 2*radius + 128 elements. A column's is `count` rows, `pitch` bytes apart; codes count from `first`. Of two windows a
     comes first. _or: of bits, all that are set. */
  void (*row_max)(const void *keys, long radius, void *line, void *code_line, void *out, void *_Nullable codes, long n);
  void (*row_or)(const void *bits, long radius, void *line, void *out, long n);
  void (*column_max)(const void *keys, long pitch, long count, long first, void *out, void *_Nullable codes, long n);
  void (*column_or)(const void *bits, long pitch, long count, void *out, long n);
  void (*merge_max)(const void *a, const void *_Nullable a_codes, const void *b, const void *_Nullable b_codes, void *out,
                    void *_Nullable codes, long n);
  void (*merge_or)(const void *a, const void *b, void *out, long n);
  void (*fill_whole)(long value, void *out, long n);
  /* The way back: out = sum of g over the windows of `count` rows (or of a row) whose code says this row (or element).
     Large windows, a row at a time: adds g to `sums`, which belong to the rows `places` of out (all are 0 at first), and writes
     those whose place changes; then what is left of a row. out[i + codes[i]] += g[i]. */
  void (*column_route)(const void *codes, const void *g, long pitch, long count, long row, void *out, long n);
  void (*row_route)(const void *codes, const void *g, long radius, void *line, void *code_line, void *out, long n);
  void (*column_runs)(const void *codes, const void *g, void *sums, void *places, void *out, long pitch, long n);
  void (*column_runs_end)(const void *sums, const void *places, long row, void *out, long n);
  void (*row_scatter)(const void *codes, const void *g, void *out, long n);

  /* Boundary loss, a row at a time. Keys of 1-p (q is 1-p, NULL if it is to be subtracted) for the first `count` that are
     not ignored (NULL: none is), -1 elsewhere; keys of largest - v; labels as keys that sort up and down; the key of labels
     whose window holds another; a bit for each of the 32 classes from `first` on; 1 where a bit is set, else 0. */
  void (*boundary_keys)(const void *p, const void *_Nullable q, const void *_Nullable labels, double ignored, long count,
                        void *out, long n);
  void (*boundary_edges)(const void *keys, const void *largest, void *out, long n);
  void (*boundary_labels)(const void *labels, double ignored, long count, void *up, void *down, long n);
  void (*boundary_classes)(const void *up, const void *down, const void *largest_up, const void *largest_down, void *out,
                           long n);
  void (*boundary_bits)(const void *classes, double first, void *out, long n);
  void (*boundary_truth)(const void *bits, long bit, void *out, long n);
  /* sum of edges b near the truth, of b elsewhere; of `near` (b's window) on the truth, of 1 - near there */
  void (*boundary_sums)(const void *edges, const void *near, const void *truth, const void *near_truth, long bit, long n,
                        double *sums);
  /* out = (near the truth ? a : c) + r*routed; 0 outside, and where both codes say the centre itself */
  void (*boundary_edge_gradient)(const void *keys, const void *routed, const void *near_truth, long bit,
                                 const void *row_codes, const void *column_codes, long row, double a, double c, double r,
                                 void *out, long n);
} Kernels;

/* Reading and writing element types: `stride` in elements, `n` any count. The same of `columns` of them side by side (at least
   KERNEL_COLUMNS), whose other sides are `pitch` bytes apart; NULL where it would be no faster. */
typedef struct {
  void (*widen)(const void *from, long stride, void *to, long n);
  void (*_Nullable narrow)(const void *from, void *to, long stride, long n);
  void (*_Nullable widen_columns)(const void *from, long stride, long columns, void *to, long pitch, long n);
  void (*_Nullable narrow_columns)(const void *from, long pitch, void *to, long stride, long columns, long n);
} Conversion;

/* Conversions between a stored type and one compute type; narrow only to the types that predictions have. */
typedef struct {
  Conversion f32, f64, f16, bf16, u8, i32, i64;
} Conversions;

typedef struct {
  /* Of one number, with the bits that all levels have (a libm's differ from processor to processor). */
  double (*exp)(double x);
  double (*log)(double x);
  Kernels f32, f64;
  Conversions to_f32, to_f64;
} KernelTable;

static inline const Kernels *kernels_of(const KernelTable *table, bool is_double) {
  return is_double ? &table->f64 : &table->f32;
}
static inline const Conversions *conversions_of(const KernelTable *table, bool is_double) {
  return is_double ? &table->to_f64 : &table->to_f32;
}

/* Each level's table: Sources/LossKernels, once per instruction set. */
KernelTable loss_kernels_baseline(void);
#if defined(__x86_64__)
KernelTable loss_kernels_avx2(void);
KernelTable loss_kernels_avx512(void);
#endif

#pragma clang assume_nonnull end
#endif
