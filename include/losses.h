/* segloss: segmentation and text-detection training losses, value and gradient.

   Every function reads plain memory that the caller describes and writes plain memory that the caller owns. All are
   re-entrant and may be called from many threads at once. Results have the same bits for every number of threads and
   every instruction set.

   Each loss comes in three functions:
     segloss_<loss>             value, parts and gradients in one call;
     segloss_<loss>_statistics  a small float64 array from the inputs alone;
     segloss_<loss>_finish      value, parts and gradients from that array and the same inputs, times an upstream factor.
   The first is the other two in one, with the same bits. Statistics of several batches may be added, entry by entry,
   before finish: the result is that of one large batch (functions say where that cannot be).

   Names in sentences are the parameter names below. C99 and C++11. */
#ifndef SEGLOSS_LOSSES_H
#define SEGLOSS_LOSSES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ---------------------------------------------------------------------------------------------------- */

#define SEGLOSS_VERSION_MAJOR 0
#define SEGLOSS_VERSION_MINOR 1
#define SEGLOSS_VERSION_PATCH 0

/* Version of the library that is loaded, such as "0.1.0". Never freed. */
const char *segloss_version(void);

/* ---- Statuses --------------------------------------------------------------------------------------------------- */

/* What every function returns. Numbers below 100 never change their meaning.
   Refused arguments (all but OUT_OF_RANGE and NON_FINITE) leave the outputs untouched; refused values are found while
   reading, and leave maps and gradients unspecified. */
typedef enum segloss_status {
  SEGLOSS_OK = 0,
  SEGLOSS_NULL_POINTER = 1,    /* a pointer that is needed is NULL */
  SEGLOSS_RANK = 2,            /* wrong number of dimensions */
  SEGLOSS_SHAPE = 3,           /* shapes that differ, negative or overflowing extents */
  SEGLOSS_ELEMENT_TYPE = 4,    /* an element type that is not accepted here */
  SEGLOSS_LAYOUT = 5,          /* strides that reach outside the address space, unknown flags */
  SEGLOSS_DEVICE = 6,          /* memory that is not the host's */
  SEGLOSS_OVERLAP = 7,         /* an output that shares memory with itself, an input or another output */
  SEGLOSS_OPTION = 8,          /* an option outside its range */
  SEGLOSS_UNSUPPORTED = 9,     /* a combination that has no meaning, or none upstream */
  SEGLOSS_OUT_OF_RANGE = 10,   /* a probability outside [0, 1] */
  SEGLOSS_NON_FINITE = 11,     /* NaN or infinity under SEGLOSS_REFUSE */
  SEGLOSS_STATISTICS = 12,     /* a statistics array of the wrong length, or of batches that do not add */
  SEGLOSS_OUT_OF_MEMORY = 13,
  SEGLOSS_INSTRUCTION_SET = 14, /* SEGLOSS_ISA names a level that is unknown or that the processor lacks */
  SEGLOSS_STRUCT_SIZE = 15     /* a struct_size that no version of the struct has had */
} segloss_status;

/* The name of a status, such as "SEGLOSS_SHAPE"; "SEGLOSS_UNKNOWN" for other numbers. Never freed. */
const char *segloss_status_name(int32_t status);

/* Where a refused call leaves its sentence; may be NULL wherever it is a parameter. */
typedef struct segloss_error {
  int32_t status;
  char message[508]; /* UTF-8: argument, what was expected, what came */
} segloss_error;

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

#define SEGLOSS_MAX_RANK 6

/* DLPack's numbers. */
enum { SEGLOSS_DEVICE_CPU = 1 };
enum { SEGLOSS_TYPE_INT = 0, SEGLOSS_TYPE_UINT = 1, SEGLOSS_TYPE_FLOAT = 2, SEGLOSS_TYPE_BFLOAT = 4, SEGLOSS_TYPE_BOOL = 6 };

/* Flag: row-major without gaps; strides are not read. */
enum { SEGLOSS_DENSE = 1 };

/* A view of the caller's memory. Predictions: float32, float64, float16, bfloat16; gradients have their prediction's
   type. Targets and masks: also uint8, bool, int32, int64. No alignment is needed. Inputs may have any strides,
   negative and zero ones included; two elements of an output must not share a place. A call with float64 predictions
   computes in float64, every other in float32 with float64 sums. */
typedef struct segloss_tensor {
  void *data;                        /* first element; may be NULL if there is none */
  int32_t device_type;               /* SEGLOSS_DEVICE_CPU */
  int32_t device_id;                 /* not read for the CPU */
  uint8_t type_code;                 /* SEGLOSS_TYPE_... */
  uint8_t type_bits;
  uint16_t type_lanes;               /* 1 */
  int32_t rank;                      /* 0 ... SEGLOSS_MAX_RANK */
  uint32_t flags;                    /* 0 or SEGLOSS_DENSE */
  uint32_t reserved;                 /* 0 */
  int64_t shape[SEGLOSS_MAX_RANK];
  int64_t strides[SEGLOSS_MAX_RANK]; /* in elements */
} segloss_tensor;

/* A descriptor from the fields of a DLTensor (dlpack.h is not needed here). strides may be NULL: dense. A rank outside
   0 ... SEGLOSS_MAX_RANK is kept for the call to refuse. */
static inline segloss_tensor segloss_from_dlpack(void *data, int32_t device_type, int32_t device_id, int32_t ndim,
                                                 uint8_t type_code, uint8_t type_bits, uint16_t type_lanes,
                                                 const int64_t *shape, const int64_t *strides, uint64_t byte_offset) {
  segloss_tensor t = {0, 0, 0, 0, 0, 0, 0, 0, 0, {0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0}};
  int32_t i;
  t.data = data ? (char *)data + byte_offset : data;
  t.device_type = device_type;
  t.device_id = device_id;
  t.type_code = type_code;
  t.type_bits = type_bits;
  t.type_lanes = type_lanes;
  t.rank = ndim;
  t.flags = strides ? 0u : (uint32_t)SEGLOSS_DENSE;
  for (i = 0; i < ndim && i < SEGLOSS_MAX_RANK; ++i) {
    t.shape[i] = shape[i];
    t.strides[i] = strides ? strides[i] : 0;
  }
  return t;
}

/* ---- Execution -------------------------------------------------------------------------------------------------- */

/* What NaN and infinity in the inputs do. */
enum {
  SEGLOSS_PROPAGATE = 0,  /* the formula's IEEE result, 0 * NaN = NaN on masked elements included */
  SEGLOSS_REFUSE = 1,     /* SEGLOSS_NON_FINITE */
  SEGLOSS_SKIP_MASKED = 2 /* elements whose mask is exactly 0 count as 0, whatever they hold */
};

/* How a call is carried out. NULL stands for the defaults, as for every options struct: struct_size first, later
   versions append fields, and a shorter struct of an older caller keeps meaning what it meant. */
typedef struct segloss_execution {
  uint32_t struct_size;
  int32_t threads;    /* 0: what segloss_num_threads() says, and no more than a runner's team has */
  int32_t non_finite; /* SEGLOSS_PROPAGATE ... */
  int32_t reserved;   /* 0 */
} segloss_execution;

static inline segloss_execution segloss_execution_default(void) {
  segloss_execution e = {sizeof(segloss_execution), 0, SEGLOSS_PROPAGATE, 0};
  return e;
}

/* "baseline", "avx2" or "avx512": the kernels that run, the best of the processor or what the environment variable
   SEGLOSS_ISA forces. NULL, with status and sentence in `error`, if that cannot be had. */
const char *segloss_instruction_set(segloss_error *error);

/* Threads of a call that does not say: n, or for n <= 0 again the default, which is SEGLOSS_NUM_THREADS or the number
   of processors that the process may use. Small inputs stay on the calling thread. */
void segloss_set_num_threads(int32_t n);
int32_t segloss_num_threads(void);

/* Has a host's team run the tasks of calls: run(context, count, task, task_context) must call task(task_context, i) for
   every i in 0 ... count-1, each once, and return when all have returned. NULL: the library's own pool. */
typedef void (*segloss_task)(void *task_context, int32_t index);
typedef void (*segloss_run)(void *context, int32_t count, segloss_task task, void *task_context);
void segloss_set_runner(segloss_run run, void *context, int32_t threads);

/* Ends the library's threads. The next call that wants some starts new ones. */
void segloss_shutdown(void);

/* ---- Dice under a mask ------------------------------------------------------------------------------------------ */

/* L = 1 - 2I/U,  I = sum p*g*m,  U = sum p*m + sum g*m + eps;  dL/dp = -2m(gU - I)/U^2.

   pred     probabilities, any shape          gt, mask   its shape          weights   its shape, or NULL; m = weights*mask
   The whole batch is one ratio. No positives: L = 1 with zero gradient. grad_pred may be pred's own memory.
   Statistics: SEGLOSS_MASK_DICE_STATISTICS entries, which add over batches.
   Source: Liao et al. 2020 (arXiv 1911.08947); PaddleOCR and MhLiao/DB DiceLoss, without their assertion. */
enum { SEGLOSS_MASK_DICE_STATISTICS = 3 };

typedef struct segloss_mask_dice_options {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  double eps;        /* 1e-6; finite */
} segloss_mask_dice_options;

static inline segloss_mask_dice_options segloss_mask_dice_options_default(void) {
  segloss_mask_dice_options o = {sizeof(segloss_mask_dice_options), 0, 1e-6};
  return o;
}

/* Parts structs start with their size as well: the call fills what the caller's version has. */
typedef struct segloss_mask_dice_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double intersection; /* I */
  double union_;       /* U */
} segloss_mask_dice_parts;

int32_t segloss_mask_dice(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                          const segloss_tensor *weights, const segloss_mask_dice_options *options, double grad_output,
                          segloss_mask_dice_parts *parts, const segloss_tensor *grad_pred,
                          const segloss_execution *execution, segloss_error *error);
int32_t segloss_mask_dice_statistics(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                                     const segloss_tensor *weights, const segloss_mask_dice_options *options,
                                     double *statistics, int64_t length, const segloss_execution *execution,
                                     segloss_error *error);
int32_t segloss_mask_dice_finish(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                                 const segloss_tensor *weights, const segloss_mask_dice_options *options,
                                 const double *statistics, int64_t length, double grad_output,
                                 segloss_mask_dice_parts *parts, const segloss_tensor *grad_pred,
                                 const segloss_execution *execution, segloss_error *error);

/* ---- L1 under a mask -------------------------------------------------------------------------------------------- */

/* L = sum |p - g|*m / (sum m + eps);  dL/dp = m*sgn(p - g)/(sum m + eps).

   pred     any values, any shape             gt, mask   its shape
   With eps = 0 an empty mask gives 0 (MhLiao's guard). grad_pred may be pred's own memory.
   Statistics: SEGLOSS_MASK_L1_STATISTICS entries, which add over batches.
   Source: Liao et al. 2020 (arXiv 1911.08947), threshold map; PaddleOCR MaskL1Loss; MhLiao/DB MaskL1Loss (eps 0). */
enum { SEGLOSS_MASK_L1_STATISTICS = 2 };

typedef struct segloss_mask_l1_options {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  double eps;        /* 1e-6; finite */
} segloss_mask_l1_options;

static inline segloss_mask_l1_options segloss_mask_l1_options_default(void) {
  segloss_mask_l1_options o = {sizeof(segloss_mask_l1_options), 0, 1e-6};
  return o;
}

typedef struct segloss_mask_l1_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double count; /* sum m */
} segloss_mask_l1_parts;

int32_t segloss_mask_l1(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                        const segloss_mask_l1_options *options, double grad_output, segloss_mask_l1_parts *parts,
                        const segloss_tensor *grad_pred, const segloss_execution *execution, segloss_error *error);
int32_t segloss_mask_l1_statistics(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                                   const segloss_mask_l1_options *options, double *statistics, int64_t length,
                                   const segloss_execution *execution, segloss_error *error);
int32_t segloss_mask_l1_finish(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                               const segloss_mask_l1_options *options, const double *statistics, int64_t length,
                               double grad_output, segloss_mask_l1_parts *parts, const segloss_tensor *grad_pred,
                               const segloss_execution *execution, segloss_error *error);

/* ---- Balanced loss ---------------------------------------------------------------------------------------------- */

/* pos = g*m, neg = (1-g)*m, P = trunc(sum pos), K = trunc(min(sum neg, P*negative_ratio));
   L = (sum pos*l + sum of the K largest neg*l) / (P + K + eps), or sum pos*l/(P + eps) if K <= 0.

   pred     probabilities, any shape (N x H x W for DICE_OHEM)            gt, mask   its shape
   l is the main loss: a map for BCE, and then this is hard-negative mining; one number for DICE and MASK_L1, and then
   L is l*(P+K)/(P+K+eps) for binary labels: published, no mining. DICE_OHEM is Dice under a mask of hard pixels of each
   image (positives, and negatives that score at least as high as the K-th), and L is that Dice. The K largest are of the
   whole batch, ties to the lowest index. No positives: L = 0 with zero gradient (DICE_OHEM: 1, as mask_dice).
   BCE wants probabilities in [0, 1] (and targets too in the torch form). grad_pred may be pred's own memory.
   Statistics: SEGLOSS_BALANCE_STATISTICS entries. They add over batches for DICE and MASK_L1 with labels and masks of 0
   and 1, and for DICE_OHEM; else finish refuses added ones, since the selection is one over the whole batch.
   Source: Liao et al. 2020 (arXiv 1911.08947), section 3.5; PaddleOCR BalanceLoss; MhLiao/DB and WenmuZhou
   BalanceCrossEntropyLoss (bce_form TORCH, truncate_weights 1); mmocr (fallback_negative_num); PSENet (arXiv 1806.02559)
   for DICE_OHEM. */
enum { SEGLOSS_BALANCE_STATISTICS = 11 };

enum {
  SEGLOSS_MAIN_DICE = 0,
  SEGLOSS_MAIN_BCE = 1,
  SEGLOSS_MAIN_MASK_L1 = 2,
  SEGLOSS_MAIN_DICE_OHEM = 3,
  SEGLOSS_MAIN_EUCLIDEAN = 4,    /* never worked upstream: SEGLOSS_UNSUPPORTED */
  SEGLOSS_MAIN_CROSS_ENTROPY = 5 /* likewise */
};

enum {
  SEGLOSS_BCE_PADDLE = 0, /* log(1 - p) */
  SEGLOSS_BCE_TORCH = 1,  /* log1p(-p) */
  SEGLOSS_BCE_LOGITS = 2  /* pred is a logit */
};

typedef struct segloss_balance_options {
  uint32_t struct_size;
  int32_t main_loss;             /* SEGLOSS_MAIN_DICE */
  int32_t balance_loss;          /* 1; 0: L is l */
  int32_t bce_form;              /* SEGLOSS_BCE_PADDLE */
  int32_t truncate_weights;      /* 0; 1: pos and neg become bytes, truncated and held to 0 ... 255 */
  int32_t clean;                 /* 0; 1: DICE_OHEM draws its negatives from pixels with mask > 1/2 only */
  double negative_ratio;         /* 3; finite */
  double eps;                    /* 1e-6; finite */
  int64_t fallback_negative_num; /* 0; negatives to take where P = 0; >= 0 */
} segloss_balance_options;

static inline segloss_balance_options segloss_balance_options_default(void) {
  segloss_balance_options o = {sizeof(segloss_balance_options), SEGLOSS_MAIN_DICE, 1, SEGLOSS_BCE_PADDLE, 0, 0, 3.0,
                               1e-6, 0};
  return o;
}

typedef struct segloss_balance_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double origin;    /* l; NaN for BCE, where it is a map */
  double positives; /* P */
  double negatives; /* K, at least 0 */
} segloss_balance_parts;

int32_t segloss_balance(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                        const segloss_balance_options *options, double grad_output, segloss_balance_parts *parts,
                        const segloss_tensor *grad_pred, const segloss_execution *execution, segloss_error *error);
int32_t segloss_balance_statistics(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                                   const segloss_balance_options *options, double *statistics, int64_t length,
                                   const segloss_execution *execution, segloss_error *error);
int32_t segloss_balance_finish(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                               const segloss_balance_options *options, const double *statistics, int64_t length,
                               double grad_output, segloss_balance_parts *parts, const segloss_tensor *grad_pred,
                               const segloss_execution *execution, segloss_error *error);

/* The map l itself, for main_loss BCE: what BalanceLoss returns without its balance, or beside it. `out` has pred's
   shape and type. The second function gives grad_output * dl/dp, element by element. The mask is not part of the
   formula: it is what SEGLOSS_SKIP_MASKED goes by, and may be NULL. `out` and grad_pred may be pred's own memory. */
int32_t segloss_balance_map(const segloss_tensor *pred, const segloss_tensor *gt, const segloss_tensor *mask,
                            const segloss_balance_options *options, const segloss_tensor *out,
                            const segloss_execution *execution, segloss_error *error);
int32_t segloss_balance_map_backward(const segloss_tensor *pred, const segloss_tensor *gt,
                                     const segloss_tensor *mask, const segloss_tensor *grad_output, const segloss_balance_options *options,
                                     const segloss_tensor *grad_pred, const segloss_execution *execution,
                                     segloss_error *error);

/* ---- Differentiable Binarization -------------------------------------------------------------------------------- */

/* L = shrink + threshold + binary, of the probability map P, the threshold map T and the approximate binary map B:
     PUBLISHED  alpha*Balance(P) + beta*MaskL1(T) + MaskDice(B)                                    PaddleOCR DBLoss
     WENMUZHOU  the same with Balance = BCE, torch form, weights truncated                         WenmuZhou/DBNet.pytorch
     PAPER      BalanceBCE(P) + beta*MaskL1(T) + alpha*BalanceBCE(B), torch form                   Liao et al. 2020

   prob, thresh, binary          P, T, B: N x H x W or N x 1 x H x W, one element type; independent inputs.
   shrink_map, shrink_mask       g and m of P and B: N x H x W (or N x 1 x H x W)
   threshold_map, threshold_mask t* and its mask
   WENMUZHOU may leave out thresh, binary, threshold_map and threshold_mask together (all NULL): L is then the shrink term
   without alpha. PAPER with step_k != 0 evaluates its binary term from logits step_k*(P - T), where probabilities would
   saturate: B is not read, its gradient is 0, and those of P and T get the share. Each gradient may be NULL, and may be
   its own prediction's memory.
   Statistics: SEGLOSS_DB_STATISTICS entries (_PAPER, _SHRINK, see below); they add as those of segloss_balance do.
   Source: Liao et al. 2020 (arXiv 1911.08947), section 3.5, and the code named above. */
enum { SEGLOSS_DB_PUBLISHED = 0, SEGLOSS_DB_WENMUZHOU = 1, SEGLOSS_DB_PAPER = 2 };

typedef struct segloss_db_options {
  uint32_t struct_size;
  int32_t variant;               /* SEGLOSS_DB_PUBLISHED */
  int32_t balance_loss;          /* 1 */
  int32_t main_loss;             /* SEGLOSS_MAIN_DICE; PUBLISHED only, the other variants have BCE */
  double alpha;                  /* 5 (PUBLISHED), 1; finite */
  double beta;                   /* 10; finite */
  double negative_ratio;         /* 3; finite */
  double eps;                    /* 1e-6, of MaskL1 and MaskDice; Balance has its own, always 1e-6; finite */
  double step_k;                 /* 50; PAPER only; 0: the binary term reads B; finite */
  int64_t fallback_negative_num; /* 0; >= 0 */
} segloss_db_options;

static inline segloss_db_options segloss_db_options_default(int32_t variant) {
  segloss_db_options o = {sizeof(segloss_db_options), variant, 1, SEGLOSS_MAIN_DICE, 5.0, 10.0, 3.0, 1e-6, 50.0, 0};
  if (variant != SEGLOSS_DB_PUBLISHED) {
    o.main_loss = SEGLOSS_MAIN_BCE;
    o.alpha = 1.0;
  }
  return o;
}

typedef struct segloss_db_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double loss_shrink_maps;    /* each with its weight */
  double loss_threshold_maps;
  double loss_binary_maps;
  double positives;           /* P and K of the shrink term */
  double negatives;
  double threshold_count;     /* sum of threshold_mask */
} segloss_db_parts;

int32_t segloss_db(const segloss_tensor *prob, const segloss_tensor *thresh, const segloss_tensor *binary,
                   const segloss_tensor *threshold_map, const segloss_tensor *threshold_mask,
                   const segloss_tensor *shrink_map, const segloss_tensor *shrink_mask,
                   const segloss_db_options *options, double grad_output, segloss_db_parts *parts,
                   const segloss_tensor *grad_prob, const segloss_tensor *grad_thresh,
                   const segloss_tensor *grad_binary, const segloss_execution *execution, segloss_error *error);
int32_t segloss_db_statistics(const segloss_tensor *prob, const segloss_tensor *thresh, const segloss_tensor *binary,
                              const segloss_tensor *threshold_map, const segloss_tensor *threshold_mask,
                              const segloss_tensor *shrink_map, const segloss_tensor *shrink_mask,
                              const segloss_db_options *options, double *statistics, int64_t length,
                              const segloss_execution *execution, segloss_error *error);
int32_t segloss_db_finish(const segloss_tensor *prob, const segloss_tensor *thresh, const segloss_tensor *binary,
                          const segloss_tensor *threshold_map, const segloss_tensor *threshold_mask,
                          const segloss_tensor *shrink_map, const segloss_tensor *shrink_mask,
                          const segloss_db_options *options, const double *statistics, int64_t length,
                          double grad_output, segloss_db_parts *parts, const segloss_tensor *grad_prob,
                          const segloss_tensor *grad_thresh, const segloss_tensor *grad_binary,
                          const segloss_execution *execution, segloss_error *error);

/* ---- MhLiao's DB loss ------------------------------------------------------------------------------------------- */

/* L = MaskDice(thresh_binary) + l1_scale*MaskL1(thresh, eps 0) + bce_scale*BalanceBCE(binary, torch form, weights
   truncated), in MhLiao/DB's names: `binary` is the probability map.

   binary, thresh, thresh_binary   N x 1 x H x W or N x H x W, one element type
   gt, mask, thresh_map, thresh_mask   N x H x W or N x 1 x H x W
   thresh, thresh_binary, thresh_map and thresh_mask may all be NULL: L is then BalanceBCE(binary), without bce_scale.
   Parts are the terms without their scales, as upstream's metrics. Statistics: as many as segloss_db has for WENMUZHOU.
   Source: MhLiao/DB L1BalanceCELoss (65ca77a). */
typedef struct segloss_l1_balance_ce_options {
  uint32_t struct_size;
  uint32_t reserved;     /* 0 */
  double eps;            /* 1e-6, of MaskDice; finite */
  double l1_scale;       /* 10; finite */
  double bce_scale;      /* 5; finite */
  double negative_ratio; /* 3; finite */
} segloss_l1_balance_ce_options;

static inline segloss_l1_balance_ce_options segloss_l1_balance_ce_options_default(void) {
  segloss_l1_balance_ce_options o = {sizeof(segloss_l1_balance_ce_options), 0, 1e-6, 10.0, 5.0, 3.0};
  return o;
}

typedef struct segloss_l1_balance_ce_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double bce_loss;        /* of binary */
  double l1_loss;         /* of thresh */
  double dice_loss;       /* of thresh_binary */
  double positives;       /* P and K of bce_loss */
  double negatives;
  double threshold_count; /* sum of thresh_mask */
} segloss_l1_balance_ce_parts;

int32_t segloss_l1_balance_ce(const segloss_tensor *binary, const segloss_tensor *thresh,
                              const segloss_tensor *thresh_binary, const segloss_tensor *gt,
                              const segloss_tensor *mask, const segloss_tensor *thresh_map,
                              const segloss_tensor *thresh_mask, const segloss_l1_balance_ce_options *options,
                              double grad_output, segloss_l1_balance_ce_parts *parts, const segloss_tensor *grad_binary,
                              const segloss_tensor *grad_thresh, const segloss_tensor *grad_thresh_binary,
                              const segloss_execution *execution, segloss_error *error);
int32_t segloss_l1_balance_ce_statistics(const segloss_tensor *binary, const segloss_tensor *thresh,
                                         const segloss_tensor *thresh_binary, const segloss_tensor *gt,
                                         const segloss_tensor *mask, const segloss_tensor *thresh_map,
                                         const segloss_tensor *thresh_mask,
                                         const segloss_l1_balance_ce_options *options, double *statistics,
                                         int64_t length, const segloss_execution *execution, segloss_error *error);
int32_t segloss_l1_balance_ce_finish(const segloss_tensor *binary, const segloss_tensor *thresh,
                                     const segloss_tensor *thresh_binary, const segloss_tensor *gt,
                                     const segloss_tensor *mask, const segloss_tensor *thresh_map,
                                     const segloss_tensor *thresh_mask, const segloss_l1_balance_ce_options *options,
                                     const double *statistics, int64_t length, double grad_output,
                                     segloss_l1_balance_ce_parts *parts, const segloss_tensor *grad_binary,
                                     const segloss_tensor *grad_thresh, const segloss_tensor *grad_thresh_binary,
                                     const segloss_execution *execution, segloss_error *error);

/* Entries of the statistics arrays of segloss_db and segloss_l1_balance_ce. `maps`: whether thresh and the three that go
   with it are given. */
enum {
  SEGLOSS_DB_STATISTICS = 16,       /* PUBLISHED, WENMUZHOU, L1BalanceCE */
  SEGLOSS_DB_STATISTICS_PAPER = 24,
  SEGLOSS_DB_STATISTICS_SHRINK = 11 /* without the other maps */
};

/* ---- The approximate step function ------------------------------------------------------------------------------ */

/* B = sigmoid(k*(P - T));  dB/dP = k*B*(1 - B) = -dB/dT, with all digits where B is near 0 or 1.

   prob, thresh   any equal shapes, one element type; out and the gradients have both. grad_output: that shape, any
   floating type. Either gradient may be NULL.
   Source: Liao et al. 2020 (arXiv 1911.08947), equation 2. */
typedef struct segloss_db_step_options {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  double k;          /* 50; finite */
} segloss_db_step_options;

static inline segloss_db_step_options segloss_db_step_options_default(void) {
  segloss_db_step_options o = {sizeof(segloss_db_step_options), 0, 50.0};
  return o;
}

int32_t segloss_db_step(const segloss_tensor *prob, const segloss_tensor *thresh,
                        const segloss_db_step_options *options, const segloss_tensor *out,
                        const segloss_execution *execution, segloss_error *error);
int32_t segloss_db_step_backward(const segloss_tensor *prob, const segloss_tensor *thresh,
                                 const segloss_tensor *grad_output, const segloss_db_step_options *options,
                                 const segloss_tensor *grad_prob, const segloss_tensor *grad_thresh,
                                 const segloss_execution *execution, segloss_error *error);

#ifdef __cplusplus
}
#endif
#endif
