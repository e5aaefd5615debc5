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

/* The same for a host that computes with OpenMP, whose threads keep looking for work for a while after each of its own: the
   addresses of its GOMP_parallel (libgomp, libomp and libiomp5 have it) and omp_get_max_threads, which says at every call how
   many threads that may be. A forked child has no such team: there the library's own pool takes as many. NULL, NULL: the
   library's own pool. */
typedef void (*segloss_omp_body)(void *data);
typedef void (*segloss_omp_parallel)(segloss_omp_body body, void *data, uint32_t threads, uint32_t flags);
typedef int32_t (*segloss_omp_max_threads)(void);
void segloss_set_openmp(segloss_omp_parallel parallel, segloss_omp_max_threads max_threads);

/* Ends the library's threads and gives back the memory that calls compute in, of which up to four blocks of at most 64 MB wait
   for the next one, and what it remembers of up to 32 programs. Calls after it start and take new ones. */
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

/* ---- Classes ---------------------------------------------------------------------------------------------------- */

/* What the losses below do with classes. `input` is N x C x ... (C classes; any shape where the classes are not told
   apart), in logits unless said. `target` has input's shape and any type, or holds integer labels of shape N x ... or
   N x 1 x ...: one-hot is implied (with one class such a target is dense). `mask` says which elements exist, 0 or 1 or any
   weight: input's shape, or without the classes; NULL: all exist. Labels outside the classes that are not ignore_index:
   SEGLOSS_OUT_OF_RANGE.

   An item is what one score is computed of: the batch (micro), a class (macro), a sample, or a class of a sample. Items are
   numbered by sample, then by class. Their reduction is the loss; segloss_<loss>_items gives each item's value, into
   `values` of shape (), (N), (classes) or (N, classes), and takes a factor for each item's gradient, `grad_output` of the
   same shape (NULL: 1). Every pointer but the inputs may be NULL there. */
enum {
  SEGLOSS_SIGMOID = 0,
  SEGLOSS_SOFTMAX = 1,      /* over dimension 1 */
  SEGLOSS_NO_ACTIVATION = 2 /* input is probabilities */
};
enum {
  SEGLOSS_MICRO = 0, /* all classes mixed */
  SEGLOSS_MACRO = 1  /* a score for each class */
};
enum {
  SEGLOSS_ABSENT_COUNT = 0, /* an item without targets: as the formula has it */
  SEGLOSS_ABSENT_SKIP = 1,  /* left out of the mean */
  SEGLOSS_ABSENT_ZERO = 2   /* 0 with zero gradient, and in the mean */
};
enum { SEGLOSS_MEAN = 0, SEGLOSS_SUM = 1 };

typedef struct segloss_classes {
  uint32_t struct_size;
  int32_t activation;          /* SEGLOSS_SIGMOID */
  int32_t average;             /* SEGLOSS_MICRO */
  int32_t per_sample;          /* 0; 1: items are samples, or classes of samples */
  int32_t absent;              /* SEGLOSS_ABSENT_COUNT */
  int32_t reduction;           /* SEGLOSS_MEAN */
  int32_t has_ignore_index;    /* 0; 1: elements with this target do not exist and are not read */
  int32_t reserved;            /* 0 */
  int64_t ignore_index;        /* 0; less than 2^24 in magnitude */
  const double *class_weight;  /* NULL; a finite factor for each class's sums (micro), or item (macro) */
  int64_t class_weight_length; /* 0; else C */
  const int64_t *classes;      /* NULL: all; the classes that take part, each once */
  int64_t classes_length;      /* 0 */
} segloss_classes;

static inline segloss_classes segloss_classes_default(void) {
  segloss_classes c = {sizeof(segloss_classes), SEGLOSS_SIGMOID, SEGLOSS_MICRO, 0, SEGLOSS_ABSENT_COUNT, SEGLOSS_MEAN,
                       0, 0, 0, 0, 0, 0, 0};
  return c;
}

/* Parts of an overlap loss. */
typedef struct segloss_overlap_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double count; /* items that were averaged */
} segloss_overlap_parts;

/* Parts of a mean over elements. */
typedef struct segloss_mean_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double count; /* sum of the mask: elements that were averaged; 0: the loss is 0, with zero gradient */
} segloss_mean_parts;

/* Entries of the statistics of Dice, IoU, Tversky and focal Tversky for each item. They add over parts of the same items:
   shards of the batch, unless per_sample, where each shard has samples of its own. */
enum { SEGLOSS_OVERLAP_STATISTICS = 3 };

/* ---- Dice -------------------------------------------------------------------------------------------------------- */

/* L = (FP + FN)/(2TP + FP + FN + smooth) = 1 - (2I + smooth)/(sum p + sum y + smooth),
   TP = sum p*y*m, FP = sum p*(1-y)*m, FN = sum (1-p)*y*m;  dL/dp = m*(y*(L_TP - L_FP - L_FN) + L_FP).

   input    logits (probabilities with NO_ACTIVATION)     target   [0, 1], its shape, or labels     mask   or NULL
   Nothing at all, with smooth 0: 0 with zero gradient. grad_input may be input's own memory.
   Statistics: SEGLOSS_OVERLAP_STATISTICS an item.
   Source: Milletari et al. 2016 (arXiv 1606.04797), linear denominators; the "loss function library" convention. */

typedef struct segloss_dice_options {
  uint32_t struct_size;
  uint32_t reserved;              /* 0 */
  double smooth;                  /* 1; finite */
  const segloss_classes *classes; /* NULL: the defaults */
} segloss_dice_options;

static inline segloss_dice_options segloss_dice_options_default(void) {
  segloss_dice_options o = {sizeof(segloss_dice_options), 0, 1.0, 0};
  return o;
}

int32_t segloss_dice(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                     const segloss_dice_options *options, double grad_output, segloss_overlap_parts *parts,
                     const segloss_tensor *grad_input, const segloss_execution *execution, segloss_error *error);
int32_t segloss_dice_statistics(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                                const segloss_dice_options *options, double *statistics, int64_t length,
                                const segloss_execution *execution, segloss_error *error);
int32_t segloss_dice_finish(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                            const segloss_dice_options *options, const double *statistics, int64_t length,
                            double grad_output, segloss_overlap_parts *parts, const segloss_tensor *grad_input,
                            const segloss_execution *execution, segloss_error *error);
int32_t segloss_dice_items(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                           const segloss_dice_options *options, const segloss_tensor *grad_output,
                           const segloss_tensor *values, const segloss_tensor *grad_input,
                           const segloss_execution *execution, segloss_error *error);

/* ---- Dice and cross-entropy -------------------------------------------------------------------------------------- */

/* L = Dice + sum l*m / sum m of each item, from one read; l is binary cross-entropy, in the logits form or (NO_ACTIVATION)
   PyTorch's on probabilities, as segloss_bce has them. Softmax: SEGLOSS_UNSUPPORTED.

   input, target, mask   as segloss_dice; probabilities and their targets in [0, 1]
   An absent item's rule concerns its Dice alone. grad_input may be input's own memory.
   Statistics: SEGLOSS_DICE_BCE_STATISTICS an item, which add as those of Dice do.
   Source: the "loss function library" convention; Isensee et al. 2021 (nnU-Net). */
enum { SEGLOSS_DICE_BCE_STATISTICS = 5 };

typedef struct segloss_dice_bce_options {
  uint32_t struct_size;
  uint32_t reserved;              /* 0 */
  double smooth;                  /* 1; finite */
  const segloss_classes *classes; /* NULL: the defaults */
} segloss_dice_bce_options;

static inline segloss_dice_bce_options segloss_dice_bce_options_default(void) {
  segloss_dice_bce_options o = {sizeof(segloss_dice_bce_options), 0, 1.0, 0};
  return o;
}

typedef struct segloss_dice_bce_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double bce_loss; /* mean of each item's mean cross-entropy */
  double dice_loss;
  double count;    /* items whose Dice was averaged */
  double elements; /* sum of the mask */
} segloss_dice_bce_parts;

int32_t segloss_dice_bce(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                         const segloss_dice_bce_options *options, double grad_output, segloss_dice_bce_parts *parts,
                         const segloss_tensor *grad_input, const segloss_execution *execution, segloss_error *error);
int32_t segloss_dice_bce_statistics(const segloss_tensor *input, const segloss_tensor *target,
                                    const segloss_tensor *mask, const segloss_dice_bce_options *options,
                                    double *statistics, int64_t length, const segloss_execution *execution,
                                    segloss_error *error);
int32_t segloss_dice_bce_finish(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                                const segloss_dice_bce_options *options, const double *statistics, int64_t length,
                                double grad_output, segloss_dice_bce_parts *parts, const segloss_tensor *grad_input,
                                const segloss_execution *execution, segloss_error *error);
int32_t segloss_dice_bce_items(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                               const segloss_dice_bce_options *options, const segloss_tensor *grad_output,
                               const segloss_tensor *values, const segloss_tensor *grad_input,
                               const segloss_execution *execution, segloss_error *error);

/* ---- Intersection over union ------------------------------------------------------------------------------------- */

/* L = (FP + FN)/(TP + FP + FN + smooth) = 1 - (I + smooth)/(union + smooth).

   input, target, mask, statistics   as segloss_dice
   Source: Rahman and Wang 2016 (ISVC); the "loss function library" convention. */

typedef struct segloss_iou_options {
  uint32_t struct_size;
  uint32_t reserved;              /* 0 */
  double smooth;                  /* 1; finite */
  const segloss_classes *classes; /* NULL: the defaults */
} segloss_iou_options;

static inline segloss_iou_options segloss_iou_options_default(void) {
  segloss_iou_options o = {sizeof(segloss_iou_options), 0, 1.0, 0};
  return o;
}

int32_t segloss_iou(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                    const segloss_iou_options *options, double grad_output, segloss_overlap_parts *parts,
                    const segloss_tensor *grad_input, const segloss_execution *execution, segloss_error *error);
int32_t segloss_iou_statistics(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                               const segloss_iou_options *options, double *statistics, int64_t length,
                               const segloss_execution *execution, segloss_error *error);
int32_t segloss_iou_finish(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                           const segloss_iou_options *options, const double *statistics, int64_t length,
                           double grad_output, segloss_overlap_parts *parts, const segloss_tensor *grad_input,
                           const segloss_execution *execution, segloss_error *error);
int32_t segloss_iou_items(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                          const segloss_iou_options *options, const segloss_tensor *grad_output,
                          const segloss_tensor *values, const segloss_tensor *grad_input,
                          const segloss_execution *execution, segloss_error *error);

/* ---- Tversky ----------------------------------------------------------------------------------------------------- */

/* L = (alpha*FP + beta*FN)/(TP + alpha*FP + beta*FN + smooth) = 1 - (TP + smooth)/(...).

   input, target, mask, statistics   as segloss_dice
   Source: Salehi et al. 2017 (arXiv 1706.05721), equation 3; the "loss function library" convention. */

typedef struct segloss_tversky_options {
  uint32_t struct_size;
  uint32_t reserved;              /* 0 */
  double alpha;                   /* 0.5; finite; the price of a false positive */
  double beta;                    /* 0.5; finite; of a false negative */
  double smooth;                  /* 1; finite */
  const segloss_classes *classes; /* NULL: the defaults */
} segloss_tversky_options;

static inline segloss_tversky_options segloss_tversky_options_default(void) {
  segloss_tversky_options o = {sizeof(segloss_tversky_options), 0, 0.5, 0.5, 1.0, 0};
  return o;
}

int32_t segloss_tversky(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                        const segloss_tversky_options *options, double grad_output, segloss_overlap_parts *parts,
                        const segloss_tensor *grad_input, const segloss_execution *execution, segloss_error *error);
int32_t segloss_tversky_statistics(const segloss_tensor *input, const segloss_tensor *target,
                                   const segloss_tensor *mask, const segloss_tversky_options *options,
                                   double *statistics, int64_t length, const segloss_execution *execution,
                                   segloss_error *error);
int32_t segloss_tversky_finish(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                               const segloss_tversky_options *options, const double *statistics, int64_t length,
                               double grad_output, segloss_overlap_parts *parts, const segloss_tensor *grad_input,
                               const segloss_execution *execution, segloss_error *error);
int32_t segloss_tversky_items(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                              const segloss_tversky_options *options, const segloss_tensor *grad_output,
                              const segloss_tensor *values, const segloss_tensor *grad_input,
                              const segloss_execution *execution, segloss_error *error);

/* ---- Focal Tversky ----------------------------------------------------------------------------------------------- */

/* L = T^gamma, T the Tversky loss. Where T is exactly 0 and gamma < 1 the gradient is 0.

   input, target, mask, statistics   as segloss_dice
   Source: Abraham and Khan 2019 (arXiv 1810.07842), equation 4 (whose exponent is 1/gamma); the "loss function library"
   convention. */

typedef struct segloss_focal_tversky_options {
  uint32_t struct_size;
  uint32_t reserved;              /* 0 */
  double alpha;                   /* 0.5; finite; the price of a false positive */
  double beta;                    /* 0.5; finite; of a false negative */
  double gamma;                   /* 1; >= 0 */
  double smooth;                  /* 1; finite */
  const segloss_classes *classes; /* NULL: the defaults */
} segloss_focal_tversky_options;

static inline segloss_focal_tversky_options segloss_focal_tversky_options_default(void) {
  segloss_focal_tversky_options o = {sizeof(segloss_focal_tversky_options), 0, 0.5, 0.5, 1.0, 1.0, 0};
  return o;
}

int32_t segloss_focal_tversky(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *mask,
                              const segloss_focal_tversky_options *options, double grad_output,
                              segloss_overlap_parts *parts, const segloss_tensor *grad_input,
                              const segloss_execution *execution, segloss_error *error);
int32_t segloss_focal_tversky_statistics(const segloss_tensor *input, const segloss_tensor *target,
                                         const segloss_tensor *mask, const segloss_focal_tversky_options *options,
                                         double *statistics, int64_t length, const segloss_execution *execution,
                                         segloss_error *error);
int32_t segloss_focal_tversky_finish(const segloss_tensor *input, const segloss_tensor *target,
                                     const segloss_tensor *mask, const segloss_focal_tversky_options *options,
                                     const double *statistics, int64_t length, double grad_output,
                                     segloss_overlap_parts *parts, const segloss_tensor *grad_input,
                                     const segloss_execution *execution, segloss_error *error);
int32_t segloss_focal_tversky_items(const segloss_tensor *input, const segloss_tensor *target,
                                    const segloss_tensor *mask, const segloss_focal_tversky_options *options,
                                    const segloss_tensor *grad_output, const segloss_tensor *values,
                                    const segloss_tensor *grad_input, const segloss_execution *execution,
                                    segloss_error *error);

/* ---- Binary cross-entropy ---------------------------------------------------------------------------------------- */

/* L = sum l*w*m*(class weight) / sum m, of each element:
     LOGITS   l = (1-y)*softplus(x) + a*y*softplus(-x), a = pos_weight                 dl/dx = (1-y)*s(x) - a*y*(1-s(x))
     TORCH    l = -y*max(log p, -100) - (1-y)*max(log1p(-p), -100)                     dl/dp = (p-y)/max(p*(1-p), 1e-12)
     PADDLE   the same with log(1-p)

   input    logits, or probabilities in [0, 1]            target   its shape, or labels (TORCH: in [0, 1])
   weight   of elements, or NULL; not in the divisor      mask     or NULL; both may lack the classes
   From logits nothing is capped. The clamps are not differentiated. grad_input may be input's own memory.
   Items: the map, of input's shape; grad_output likewise. Of `classes`: reduction, ignore_index, class_weight; the rest
   must be the defaults. Statistics: SEGLOSS_MEAN_STATISTICS entries, which add over batches.
   Source: BCEWithLogitsLoss and BCELoss of PyTorch, BCELoss of PaddlePaddle. */
enum { SEGLOSS_MEAN_STATISTICS = 2 };

typedef struct segloss_bce_options {
  uint32_t struct_size;
  int32_t form;                   /* SEGLOSS_BCE_LOGITS */
  const double *pos_weight;       /* NULL: 1; one factor for positives, or one a class; LOGITS only */
  int64_t pos_weight_length;      /* 0, 1 or C */
  const segloss_classes *classes; /* NULL: the defaults */
} segloss_bce_options;

static inline segloss_bce_options segloss_bce_options_default(void) {
  segloss_bce_options o = {sizeof(segloss_bce_options), SEGLOSS_BCE_LOGITS, 0, 0, 0};
  return o;
}

int32_t segloss_bce(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                    const segloss_tensor *mask, const segloss_bce_options *options, double grad_output,
                    segloss_mean_parts *parts, const segloss_tensor *grad_input, const segloss_execution *execution,
                    segloss_error *error);
int32_t segloss_bce_statistics(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                               const segloss_tensor *mask, const segloss_bce_options *options, double *statistics,
                               int64_t length, const segloss_execution *execution, segloss_error *error);
int32_t segloss_bce_finish(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                           const segloss_tensor *mask, const segloss_bce_options *options, const double *statistics,
                           int64_t length, double grad_output, segloss_mean_parts *parts,
                           const segloss_tensor *grad_input, const segloss_execution *execution, segloss_error *error);
int32_t segloss_bce_items(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                          const segloss_tensor *mask, const segloss_bce_options *options,
                          const segloss_tensor *grad_output, const segloss_tensor *values,
                          const segloss_tensor *grad_input, const segloss_execution *execution, segloss_error *error);

/* ---- Focal ------------------------------------------------------------------------------------------------------- */

/* PUBLISHED   L = alpha*(1 - e^-B)^gamma*B, B the mean cross-entropy: the factor is one number for the whole batch
   PAPER       l = alpha_t*(1 - p_t)^gamma*CE of each element, p_t = p*y + (1-p)*(1-y), alpha_t = alpha*y + (1-alpha)*(1-y);
               L = sum l*w*m*(class weight) / sum m

   input, target, weight, mask, classes, statistics   as segloss_bce (PyTorch's form on probabilities)
   B = 0: zero gradient for every gamma. PUBLISHED has no sum and no items. grad_input may be input's own memory.
   Source: Lin et al. 2017 (arXiv 1708.02002), equation 5; PUBLISHED is the "loss function library" form. */

enum { SEGLOSS_FOCAL_PUBLISHED = 0, SEGLOSS_FOCAL_PAPER = 1 };

typedef struct segloss_focal_options {
  uint32_t struct_size;
  int32_t variant;                /* SEGLOSS_FOCAL_PUBLISHED */
  int32_t from_logits;            /* 1 */
  uint32_t reserved;              /* 0 */
  double alpha;                   /* 0.8, as published (paper: 0.25); finite; negative: no alpha_t */
  double gamma;                   /* 2; >= 0 */
  const segloss_classes *classes; /* NULL: the defaults */
} segloss_focal_options;

static inline segloss_focal_options segloss_focal_options_default(void) {
  segloss_focal_options o = {sizeof(segloss_focal_options), SEGLOSS_FOCAL_PUBLISHED, 1, 0, 0.8, 2.0, 0};
  return o;
}

typedef struct segloss_focal_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double bce_loss; /* the mean cross-entropy; PAPER: loss itself */
  double count;    /* sum of the mask */
} segloss_focal_parts;

int32_t segloss_focal(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                      const segloss_tensor *mask, const segloss_focal_options *options, double grad_output,
                      segloss_focal_parts *parts, const segloss_tensor *grad_input, const segloss_execution *execution,
                      segloss_error *error);
int32_t segloss_focal_statistics(const segloss_tensor *input, const segloss_tensor *target,
                                 const segloss_tensor *weight, const segloss_tensor *mask,
                                 const segloss_focal_options *options, double *statistics, int64_t length,
                                 const segloss_execution *execution, segloss_error *error);
int32_t segloss_focal_finish(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                             const segloss_tensor *mask, const segloss_focal_options *options,
                             const double *statistics, int64_t length, double grad_output, segloss_focal_parts *parts,
                             const segloss_tensor *grad_input, const segloss_execution *execution,
                             segloss_error *error);
int32_t segloss_focal_items(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                            const segloss_tensor *mask, const segloss_focal_options *options,
                            const segloss_tensor *grad_output, const segloss_tensor *values,
                            const segloss_tensor *grad_input, const segloss_execution *execution,
                            segloss_error *error);

/* ---- Smooth L1 --------------------------------------------------------------------------------------------------- */

/* l = d*d/(2*beta) if |d| < beta, else |d| - beta/2, d = x - y;  L = sum l*w*m / sum m.

   input    any values, any shape       target, weight, mask   its shape (weight and mask may lack dimension 1, or be NULL)
   beta = 0 is L1; CTPN's sigma is beta = 1/sigma^2. grad_input may be input's own memory. Items as segloss_bce.
   Statistics: SEGLOSS_MEAN_STATISTICS entries, which add over batches.
   Source: Girshick 2015 (arXiv 1504.08083), equation 3; SmoothL1Loss of PyTorch. */

typedef struct segloss_smooth_l1_options {
  uint32_t struct_size;
  int32_t reduction; /* SEGLOSS_MEAN */
  double beta;       /* 1; >= 0 */
} segloss_smooth_l1_options;

static inline segloss_smooth_l1_options segloss_smooth_l1_options_default(void) {
  segloss_smooth_l1_options o = {sizeof(segloss_smooth_l1_options), SEGLOSS_MEAN, 1.0};
  return o;
}

int32_t segloss_smooth_l1(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                          const segloss_tensor *mask, const segloss_smooth_l1_options *options, double grad_output,
                          segloss_mean_parts *parts, const segloss_tensor *grad_input,
                          const segloss_execution *execution, segloss_error *error);
int32_t segloss_smooth_l1_statistics(const segloss_tensor *input, const segloss_tensor *target,
                                     const segloss_tensor *weight, const segloss_tensor *mask,
                                     const segloss_smooth_l1_options *options, double *statistics, int64_t length,
                                     const segloss_execution *execution, segloss_error *error);
int32_t segloss_smooth_l1_finish(const segloss_tensor *input, const segloss_tensor *target,
                                 const segloss_tensor *weight, const segloss_tensor *mask,
                                 const segloss_smooth_l1_options *options, const double *statistics, int64_t length,
                                 double grad_output, segloss_mean_parts *parts, const segloss_tensor *grad_input,
                                 const segloss_execution *execution, segloss_error *error);
int32_t segloss_smooth_l1_items(const segloss_tensor *input, const segloss_tensor *target,
                                const segloss_tensor *weight, const segloss_tensor *mask,
                                const segloss_smooth_l1_options *options, const segloss_tensor *grad_output,
                                const segloss_tensor *values, const segloss_tensor *grad_input,
                                const segloss_execution *execution, segloss_error *error);

/* ---- Cross-entropy over classes ---------------------------------------------------------------------------------- */

/* l = -sum_c t_c*log softmax(x)_c, t_c = w_c*((1-e)*y_c + e/C), w the class weights, e the label smoothing;
   labels: L = sum l*v*m / sum w_y*m over those that are not ignored; class probabilities: L = sum l*v*m / sum m.

   input    logits, N x C x ...         target   integer labels, N x ... or N x 1 x ..., or probabilities of input's shape
   weight   v, of positions, N x ... or N x 1 x ..., or NULL; not in the divisor             mask   likewise
   A position or class of weight 0 contributes nothing, whatever it holds, unless non-finite values are refused. Nothing to
   count: 0 with zero gradient. grad_input may be input's own memory. Items: a map of shape N x ...
   Statistics: SEGLOSS_CROSS_ENTROPY_STATISTICS entries, which add over batches.
   Source: CrossEntropyLoss of PyTorch; Ronneberger et al. 2015 (arXiv 1505.04597), equation 1, for v. */
enum { SEGLOSS_CROSS_ENTROPY_STATISTICS = 3 };

typedef struct segloss_cross_entropy_options {
  uint32_t struct_size;
  int32_t reduction;           /* SEGLOSS_MEAN */
  int32_t has_ignore_index;    /* 1 */
  uint32_t reserved;           /* 0 */
  int64_t ignore_index;        /* -100; less than 2^24 in magnitude; of labels only */
  double label_smoothing;      /* 0; 0 ... 1 */
  const double *class_weight;  /* NULL; a finite factor for each class */
  int64_t class_weight_length; /* 0; else C */
} segloss_cross_entropy_options;

static inline segloss_cross_entropy_options segloss_cross_entropy_options_default(void) {
  segloss_cross_entropy_options o = {sizeof(segloss_cross_entropy_options), SEGLOSS_MEAN, 1, 0, -100, 0.0, 0, 0};
  return o;
}

typedef struct segloss_cross_entropy_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double count;   /* positions that counted */
  double divisor; /* sum of w_y*m; for class probabilities, or a sum, what it is there */
} segloss_cross_entropy_parts;

int32_t segloss_cross_entropy(const segloss_tensor *input, const segloss_tensor *target, const segloss_tensor *weight,
                              const segloss_tensor *mask, const segloss_cross_entropy_options *options,
                              double grad_output, segloss_cross_entropy_parts *parts, const segloss_tensor *grad_input,
                              const segloss_execution *execution, segloss_error *error);
int32_t segloss_cross_entropy_statistics(const segloss_tensor *input, const segloss_tensor *target,
                                         const segloss_tensor *weight, const segloss_tensor *mask,
                                         const segloss_cross_entropy_options *options, double *statistics,
                                         int64_t length, const segloss_execution *execution, segloss_error *error);
int32_t segloss_cross_entropy_finish(const segloss_tensor *input, const segloss_tensor *target,
                                     const segloss_tensor *weight, const segloss_tensor *mask,
                                     const segloss_cross_entropy_options *options, const double *statistics,
                                     int64_t length, double grad_output, segloss_cross_entropy_parts *parts,
                                     const segloss_tensor *grad_input, const segloss_execution *execution,
                                     segloss_error *error);
int32_t segloss_cross_entropy_items(const segloss_tensor *input, const segloss_tensor *target,
                                    const segloss_tensor *weight, const segloss_tensor *mask,
                                    const segloss_cross_entropy_options *options, const segloss_tensor *grad_output,
                                    const segloss_tensor *values, const segloss_tensor *grad_input,
                                    const segloss_execution *execution, segloss_error *error);

/* ---- CTPN ------------------------------------------------------------------------------------------------------- */

/* The loss of a text detector's anchors, each kept unless its label is -1; N are kept, F have label 1:
     L = Ls + Lv + Lo
     Ls = sum over kept of (log sum e^s - s_label) / N
     Lv = lambda1 * sum over kept of outside*phi(inside*(box - target)) / (F + 1)     PAPER: / max(F, 1)
     Lo = lambda2 * sum over kept of side_mask*phi(side - side_target) / max(sum of side_mask, 1)
     phi(d) = sigma2*d*d/2 where |d| < 1/sigma2, else |d| - 1/(2*sigma2)

   Predictions, of one floating type, in one of three layouts (n anchors; A of them in each of H x W places):
              rows       maps (row-major)    heads (as a convolution leaves them)
     cls      n x 2      N x H x W x A*2     N x A*2 x H x W      logits: background, text
     box      n x 4      N x H x W x A*4     N x A*2 x H x W      dx, dy, dw, dh; heads: dy, dh alone
     side     n          N x H x W x A       N x A x H x W        distance to the line's end
   Channels of heads are (anchor, number): those of an anchor are neighbours. Where cls and box have the same rank-4
   shape they are heads.
   rpn_labels, side_targets, side_mask   n or N x H x W x A; labels are -1, 0 or 1, of any type (SEGLOSS_OUT_OF_RANGE)
   rpn_bbox_targets, rpn_bbox_inside_weights, rpn_bbox_outside_weights   n x 4 or N x H x W x A*4, for heads too
   side, side_targets and side_mask may be NULL together: Lo is then 0. Each gradient may be its own prediction's
   memory. An anchor that is not kept contributes nothing, whatever stands there. Neither does an offset of weight 0
   under SEGLOSS_SKIP_MASKED, which is what a NULL execution means for PAPER; else 0 * NaN is NaN, as upstream. Nothing
   kept: L is 0 with zero gradient, and parts->kept says so.
   Statistics: SEGLOSS_CTPN_STATISTICS entries, which add over images.
   Source: Tian et al. 2016 (arXiv 1609.03605), section 3.4; eragonruan/text-detection-ctpn, branch banjin-dev
   (PUBLISHED), which has no Lo. */
enum { SEGLOSS_CTPN_STATISTICS = 6 };

enum { SEGLOSS_CTPN_PUBLISHED = 0, SEGLOSS_CTPN_PAPER = 1 };

typedef struct segloss_ctpn_options {
  uint32_t struct_size;
  int32_t variant; /* SEGLOSS_CTPN_PUBLISHED */
  double sigma2;   /* 9 (PUBLISHED), 1; above 0, finite */
  double lambda1;  /* 1; finite */
  double lambda2;  /* 2; finite */
} segloss_ctpn_options;

static inline segloss_ctpn_options segloss_ctpn_options_default(int32_t variant) {
  segloss_ctpn_options o = {sizeof(segloss_ctpn_options), variant, 9.0, 1.0, 2.0};
  if (variant == SEGLOSS_CTPN_PAPER) o.sigma2 = 1.0;
  return o;
}

typedef struct segloss_ctpn_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double model_loss;        /* Ls + Lv, what the published code optimises */
  double rpn_cross_entropy; /* Ls */
  double rpn_loss_box;      /* Lv */
  double rpn_loss_side;     /* Lo */
  double kept;              /* N */
  double positives;         /* F */
  double sides;             /* sum of side_mask over kept anchors */
} segloss_ctpn_parts;

int32_t segloss_ctpn(const segloss_tensor *cls, const segloss_tensor *box, const segloss_tensor *side,
                     const segloss_tensor *rpn_labels, const segloss_tensor *rpn_bbox_targets,
                     const segloss_tensor *rpn_bbox_inside_weights, const segloss_tensor *rpn_bbox_outside_weights,
                     const segloss_tensor *side_targets, const segloss_tensor *side_mask,
                     const segloss_ctpn_options *options, double grad_output, segloss_ctpn_parts *parts,
                     const segloss_tensor *grad_cls, const segloss_tensor *grad_box, const segloss_tensor *grad_side,
                     const segloss_execution *execution, segloss_error *error);
int32_t segloss_ctpn_statistics(const segloss_tensor *cls, const segloss_tensor *box, const segloss_tensor *side,
                                const segloss_tensor *rpn_labels, const segloss_tensor *rpn_bbox_targets,
                                const segloss_tensor *rpn_bbox_inside_weights,
                                const segloss_tensor *rpn_bbox_outside_weights, const segloss_tensor *side_targets,
                                const segloss_tensor *side_mask, const segloss_ctpn_options *options,
                                double *statistics, int64_t length, const segloss_execution *execution,
                                segloss_error *error);
int32_t segloss_ctpn_finish(const segloss_tensor *cls, const segloss_tensor *box, const segloss_tensor *side,
                            const segloss_tensor *rpn_labels, const segloss_tensor *rpn_bbox_targets,
                            const segloss_tensor *rpn_bbox_inside_weights,
                            const segloss_tensor *rpn_bbox_outside_weights, const segloss_tensor *side_targets,
                            const segloss_tensor *side_mask, const segloss_ctpn_options *options,
                            const double *statistics, int64_t length, double grad_output, segloss_ctpn_parts *parts,
                            const segloss_tensor *grad_cls, const segloss_tensor *grad_box,
                            const segloss_tensor *grad_side, const segloss_execution *execution, segloss_error *error);

/* ---- Targets of CTPN's anchors ---------------------------------------------------------------------------------- */

/* What the loss compares with: anchors against the boxes of an image, in float64.

   Anchors: A of them, `width` wide and as high as `heights` say, round the middle of each stride x stride square, cut
   to whole pixels; one counts if it lies inside the image. Overlap is intersection over union of pixels (x2 - x1 + 1).
   Label 0: the largest overlap with any box is below negative_overlap. Label 1: it is at least positive_overlap, or no
   anchor overlaps some box more (ties included). Label -1: the rest, and those outside. Negatives are labelled before
   positives, with clobber_positives after. Then at most fg_fraction*batch_size positives are left, and negatives up to
   batch_size; the others become -1. Targets of every anchor inside, against the box that it overlaps most (the first of
   equals): (gcx - cx)/w, (gcy - cy)/h, log(gw/w), log(gh/h).

   Variants. PUBLISHED: a box that overlaps no anchor flags every anchor that it does not overlap, which is all of them:
   one box outside the image makes all anchors positive. Inside weights 1, 1, 1, 1. A box with x2 < x1 or y2 < y1 gives
   targets that are NaN or infinite. With positive_weight w: w/F + 1 and (1 - w)/B + 1. PAPER: a box flags where its
   maximum is above 0. Inside weights 0, 1, 0, 1. Such boxes are refused (SEGLOSS_OUT_OF_RANGE). w/(F + 1) and (1 -
   w)/(B + 1), B being the negatives. Both refuse coordinates that are not finite (SEGLOSS_NON_FINITE). No boxes: every
   anchor inside is a negative.

   gt_boxes     n x 4 or n x 5: x1, y1, x2, y2, and one that is not read; any element type
   line_boxes   the same, or NULL for gt_boxes: whole lines, of which gt_boxes may be the pieces. An anchor of label 1
                is a side anchor if an end (x1 or x2) of the line that it overlaps most lies within side_distance of its
                centre; the target is (end - centre)/w of the nearer end
   heights      A numbers above 0, any element type, or NULL for 11, 16, 23, 33, 48, 68, 97, 139, 198, 283
   generator    draws which ones are left, as numpy's global generator does for that code; NULL: the first ones are left
   rpn_labels   int32, 1 x H x W x A: its shape is the feature map's. Must not be NULL; the other outputs may
   rpn_bbox_targets, rpn_bbox_inside_weights, rpn_bbox_outside_weights   float32, 1 x H x W x A*4
   rpn_side_targets, rpn_side_mask   float32, 1 x H x W x A
   Source: Tian et al. 2016 (arXiv 1609.03605), section 3; eragonruan/text-detection-ctpn, branch banjin-dev. */
typedef struct segloss_ctpn_anchor_targets_options {
  uint32_t struct_size;
  int32_t variant;           /* SEGLOSS_CTPN_PUBLISHED */
  int32_t stride;            /* 16; pixels of a place of the feature map, 1 ... 65536 */
  int32_t batch_size;        /* 300; anchors that are left, >= 0 */
  int32_t clobber_positives; /* 0 */
  int32_t reserved;          /* 0 */
  double width;              /* 16; above 0, at most 65536, as heights */
  double negative_overlap;   /* 0.3; finite */
  double positive_overlap;   /* 0.7; finite */
  double fg_fraction;        /* 0.5; 0 ... 1 */
  double positive_weight;    /* -1; below 0: outside weights are 1 on positives, 0 elsewhere; else above 0, below 1 */
  double inside_dx;          /* 1 (PUBLISHED), 0; finite */
  double inside_dy;          /* 1; finite */
  double inside_dw;          /* 1 (PUBLISHED), 0; finite */
  double inside_dh;          /* 1; finite */
  double side_distance;      /* 32; pixels, >= 0 */
} segloss_ctpn_anchor_targets_options;

static inline segloss_ctpn_anchor_targets_options segloss_ctpn_anchor_targets_options_default(int32_t variant) {
  segloss_ctpn_anchor_targets_options o = {sizeof(segloss_ctpn_anchor_targets_options), variant, 16, 300, 0, 0,
                                           16.0, 0.3, 0.7, 0.5, -1.0, 1.0, 1.0, 1.0, 1.0, 32.0};
  if (variant == SEGLOSS_CTPN_PAPER) o.inside_dx = o.inside_dw = 0.0;
  return o;
}

/* The Mersenne Twister MT19937, as numpy's RandomState has it: a state that goes on from image to image.
   segloss_mt19937_seed starts it as numpy.random.seed(seed) does. */
typedef struct segloss_mt19937 {
  uint32_t key[624];
  int32_t position; /* 0 ... 624; the next word of `key` */
} segloss_mt19937;

void segloss_mt19937_seed(segloss_mt19937 *generator, uint32_t seed);

int32_t segloss_ctpn_anchor_targets(const segloss_tensor *gt_boxes, const segloss_tensor *line_boxes,
                                    const segloss_tensor *heights, double image_height, double image_width,
                                    const segloss_ctpn_anchor_targets_options *options, segloss_mt19937 *generator,
                                    const segloss_tensor *rpn_labels, const segloss_tensor *rpn_bbox_targets,
                                    const segloss_tensor *rpn_bbox_inside_weights,
                                    const segloss_tensor *rpn_bbox_outside_weights,
                                    const segloss_tensor *rpn_side_targets, const segloss_tensor *rpn_side_mask,
                                    segloss_error *error);

/* ---- Structure --------------------------------------------------------------------------------------------------- */

/* w = 1 + gain*|mean of y over a kernel_size x kernel_size window - y|, p = sigmoid(x), l binary cross-entropy of x;
   U = (FP + FN)/(TP + FP + FN + smooth) of p and y under w, for each plane (n,c):
     PUBLISHED  L = mean of l over the tensor + mean of U over the planes                          PraNet, F3Net as they run
     PAPER      L = mean over the planes of sum l*w / sum w + U                                    what F3Net describes
     UACANET    the same with U = sum u*w / sum w, u = (p*(1-y) + (1-p)*y)/(p + y - p*y + smooth)  UACANet

   preds    `levels` predictions of one mask (deep supervision): logits, N x C x H x W or N x H x W, all of one shape and
            element type; L is the sum of their losses, and the weights are computed once
   mask     [0, 1], their shape
   Outside the image the window holds zeros. Without elements: 0. grad_preds: one for each of preds, or NULL; each may be
   its own prediction's memory. level_parts: SEGLOSS_STRUCTURE_LEVEL_PARTS numbers a level (loss, bce_loss, iou_loss), or
   NULL. Statistics: for each plane SEGLOSS_STRUCTURE_STATISTICS entries and SEGLOSS_STRUCTURE_LEVEL_STATISTICS a level.
   Planes are averaged, each with entries of its own: those of other batches are not added to them.
   Source: Fan et al. 2020 (PraNet, arXiv 2006.11392); Wei et al. 2020 (F3Net, arXiv 1911.11445); Kim et al. 2021
   (UACANet, arXiv 2107.02368). */
enum { SEGLOSS_STRUCTURE_PUBLISHED = 0, SEGLOSS_STRUCTURE_PAPER = 1, SEGLOSS_STRUCTURE_UACANET = 2 };
enum {
  SEGLOSS_STRUCTURE_STATISTICS = 1,       /* sum w; PUBLISHED: 0 */
  SEGLOSS_STRUCTURE_LEVEL_STATISTICS = 4, /* TP, FP, FN, sum l (PAPER: l*w); UACANET: sum u*w, sum l*w, 0, 0 */
  SEGLOSS_STRUCTURE_LEVEL_PARTS = 3,
  SEGLOSS_STRUCTURE_LEVELS = 16           /* at most */
};

typedef struct segloss_structure_options {
  uint32_t struct_size;
  int32_t variant;           /* SEGLOSS_STRUCTURE_PUBLISHED */
  int32_t count_include_pad; /* 1; 0: the mean is over the part of the window inside the image */
  uint32_t reserved;         /* 0 */
  int64_t kernel_size;       /* 31; odd, >= 1 */
  double gain;               /* 5; finite, >= 0 */
  double smooth;             /* 1; finite, >= 0 */
} segloss_structure_options;

static inline segloss_structure_options segloss_structure_options_default(void) {
  segloss_structure_options o = {
      sizeof(segloss_structure_options), SEGLOSS_STRUCTURE_PUBLISHED, 1, 0, 31, 5.0, 1.0};
  return o;
}

typedef struct segloss_structure_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double bce_loss; /* all levels together */
  double iou_loss;
  double count;    /* planes that were averaged */
} segloss_structure_parts;

int32_t segloss_structure(const segloss_tensor *preds, int32_t levels, const segloss_tensor *mask,
                          const segloss_structure_options *options, double grad_output, segloss_structure_parts *parts,
                          double *level_parts, const segloss_tensor *grad_preds, const segloss_execution *execution,
                          segloss_error *error);
int32_t segloss_structure_statistics(const segloss_tensor *preds, int32_t levels, const segloss_tensor *mask,
                                     const segloss_structure_options *options, double *statistics, int64_t length,
                                     const segloss_execution *execution, segloss_error *error);
int32_t segloss_structure_finish(const segloss_tensor *preds, int32_t levels, const segloss_tensor *mask,
                                 const segloss_structure_options *options, const double *statistics, int64_t length,
                                 double grad_output, segloss_structure_parts *parts, double *level_parts,
                                 const segloss_tensor *grad_preds, const segloss_execution *execution,
                                 segloss_error *error);
/* Of one prediction, each plane's loss: `values` and grad_output of shape (N, C). */
int32_t segloss_structure_items(const segloss_tensor *pred, const segloss_tensor *mask,
                                const segloss_structure_options *options, const segloss_tensor *grad_output,
                                const segloss_tensor *values, const segloss_tensor *grad_pred,
                                const segloss_execution *execution, segloss_error *error);

/* ---- Active contour ---------------------------------------------------------------------------------------------- */

/* L = weight*length + region_weight*region; length = mean of sqrt(a*a + b*b + 1e-8), a and b differences of p down and
   across; region = mean of p*(y - c_in)^2 + (1-p)*(y - c_out)^2.
     PUBLISHED  a = p[i+2,j] - p[i+1,j], b = p[i,j+2] - p[i,j+1]: two different pixels, (H-2)*(W-2) of them
     ALIGNED    a = p[i+1,j] - p[i,j],   b = p[i,j+1] - p[i,j],   (H-1)*(W-1) of them

   input    probabilities (not checked; logits with from_logits), N x C x H x W or N x H x W          target   its shape
   A map too small for differences has length 0; length_count says so. grad_input may not be input's own memory.
   Statistics: SEGLOSS_ACTIVE_CONTOUR_STATISTICS entries, which add over batches.
   Source: Chen et al. 2019 (CVPR), equations 11 and 12; PUBLISHED is its PyTorch port, lc82111/Active-Contour-Loss-pytorch. */
enum { SEGLOSS_CONTOUR_PUBLISHED = 0, SEGLOSS_CONTOUR_ALIGNED = 1 };
enum { SEGLOSS_ACTIVE_CONTOUR_STATISTICS = 4 };

typedef struct segloss_active_contour_options {
  uint32_t struct_size;
  int32_t variant;      /* SEGLOSS_CONTOUR_PUBLISHED */
  int32_t from_logits;  /* 0 */
  uint32_t reserved;    /* 0 */
  double weight;        /* 10; finite */
  double region_weight; /* 1; finite */
  double c_in;          /* 1; finite */
  double c_out;         /* 0; finite */
} segloss_active_contour_options;

static inline segloss_active_contour_options segloss_active_contour_options_default(void) {
  segloss_active_contour_options o = {
      sizeof(segloss_active_contour_options), SEGLOSS_CONTOUR_PUBLISHED, 0, 0, 10.0, 1.0, 1.0, 0.0};
  return o;
}

typedef struct segloss_active_contour_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double length; /* without their weights */
  double region;
  double length_count; /* pixels that were averaged for each */
  double count;
} segloss_active_contour_parts;

int32_t segloss_active_contour(const segloss_tensor *input, const segloss_tensor *target,
                               const segloss_active_contour_options *options, double grad_output,
                               segloss_active_contour_parts *parts, const segloss_tensor *grad_input,
                               const segloss_execution *execution, segloss_error *error);
int32_t segloss_active_contour_statistics(const segloss_tensor *input, const segloss_tensor *target,
                                          const segloss_active_contour_options *options, double *statistics,
                                          int64_t length, const segloss_execution *execution, segloss_error *error);
int32_t segloss_active_contour_finish(const segloss_tensor *input, const segloss_tensor *target,
                                      const segloss_active_contour_options *options, const double *statistics,
                                      int64_t length, double grad_output, segloss_active_contour_parts *parts,
                                      const segloss_tensor *grad_input, const segloss_execution *execution,
                                      segloss_error *error);
/* ---- Boundaries -------------------------------------------------------------------------------------------------- */

/* BF1: the F1 score of boundaries, of each class of each image.
     v = 1 - p, b = max_theta0(v) - v, B = max_theta(b); g, G the same of the one-hot labels;
     P = sum b*G/(sum b + 1e-7), R = sum B*g/(sum g + 1e-7), F = 2PR/(P + R + 1e-7), L = mean of 1 - F
   where p = softmax(pred) over the classes and max_k is the largest of the k x k window around a pixel, inside the image.
   PUBLISHED: a class without a boundary in the labels costs 1, with zero gradient. PRESENT_CLASSES leaves it out of the mean
   (all of them: 0). The gradient of a largest goes to the first of equal ones in row-major order.

   pred     N x C x H x W, logits, or probabilities in [0, 1] with from_probs
   labels   N x H x W or N x 1 x H x W, uint8, bool, int32 or int64 in 0 ... C-1; or height and width both larger by an even
            number, whose centre counts
   Pixels with ignore_index are as if outside the image: they win no window, count in no sum, and are not read. grad_pred may
   share no memory with pred.
   segloss_boundary_items gives 1 - F of each, into `values` of shape N x C, and takes a factor for each one's gradient,
   `grad_output` of the same shape (NULL: 1); what PRESENT_CLASSES leaves out is 0. Every pointer but the inputs may be NULL.
   Statistics: SEGLOSS_BOUNDARY_STATISTICS entries for each class of each image, and one more. They do not add: each image
   has scores of its own, so shards of the batch are finished separately, and their losses averaged by `count`; finish
   refuses added ones.
   Source: Bokhovkin and Burnaev 2019 (arXiv 1905.07852), section 3; yiskw713/boundary_loss_for_remote_sensing. */
enum { SEGLOSS_BOUNDARY_STATISTICS = 4 };

enum { SEGLOSS_BOUNDARY_PUBLISHED = 0, SEGLOSS_BOUNDARY_PRESENT_CLASSES = 1 };

typedef struct segloss_boundary_options {
  uint32_t struct_size;
  int32_t variant;          /* SEGLOSS_BOUNDARY_PUBLISHED */
  int64_t theta0;           /* 3; odd, >= 1: the width of boundaries */
  int64_t theta;            /* 5; odd, >= 1: how near they count */
  int32_t from_probs;       /* 0; 1: pred is probabilities */
  int32_t has_ignore_index; /* 0; 1: pixels with this label do not exist */
  int64_t ignore_index;     /* 0; less than 2^24 in magnitude */
} segloss_boundary_options;

static inline segloss_boundary_options segloss_boundary_options_default(void) {
  segloss_boundary_options o = {sizeof(segloss_boundary_options), SEGLOSS_BOUNDARY_PUBLISHED, 3, 5, 0, 0, 0};
  return o;
}

typedef struct segloss_boundary_parts {
  uint32_t struct_size;
  uint32_t reserved;
  double loss;
  double count; /* scores that were averaged: N*C, or those of classes with a boundary */
} segloss_boundary_parts;

int32_t segloss_boundary(const segloss_tensor *pred, const segloss_tensor *labels,
                         const segloss_boundary_options *options, double grad_output, segloss_boundary_parts *parts,
                         const segloss_tensor *grad_pred, const segloss_execution *execution, segloss_error *error);
int32_t segloss_boundary_statistics(const segloss_tensor *pred, const segloss_tensor *labels,
                                    const segloss_boundary_options *options, double *statistics, int64_t length,
                                    const segloss_execution *execution, segloss_error *error);
int32_t segloss_boundary_finish(const segloss_tensor *pred, const segloss_tensor *labels,
                                const segloss_boundary_options *options, const double *statistics, int64_t length,
                                double grad_output, segloss_boundary_parts *parts, const segloss_tensor *grad_pred,
                                const segloss_execution *execution, segloss_error *error);
int32_t segloss_boundary_items(const segloss_tensor *pred, const segloss_tensor *labels,
                               const segloss_boundary_options *options, const segloss_tensor *grad_output,
                               const segloss_tensor *values, const segloss_tensor *grad_pred,
                               const segloss_execution *execution, segloss_error *error);

/* ---- Programs --------------------------------------------------------------------------------------------------- */

/* A call as data: which loss, its options, and which array each of its parameters is. What bindings and the operators of
   graphs are made of, since every loss then looks alike: arrays in, a value and a few parts out, and gradients of the
   first arrays. A program is code: run none that you would not run as code.

   In memory: the struct, then `tensors` of segloss_program_tensor, `pointers` of segloss_program_pointer, and from
   options_at the options struct with whatever it points to. Every offset is from the program's start and a multiple
   of 8; the program itself may lie anywhere. */
typedef struct segloss_program {
  uint32_t struct_size; /* of this struct */
  int32_t non_finite;   /* SEGLOSS_PROPAGATE ... */
  char loss[32];        /* "dice" for segloss_dice; also "balance_map" and "db_step" */
  int32_t items;        /* 1: segloss_<loss>_items (or the map), 0: the reduced loss */
  int32_t arrays;       /* that a call gives */
  int32_t predictions;  /* how many of them, the first ones, have gradients */
  int32_t tensors;      /* parameters of the loss that are tensors, predictions first; with each level of structure */
  int32_t pointers;
  uint32_t options_at;
} segloss_program;

typedef struct segloss_program_tensor {
  int32_t array;         /* its index; -1: NULL */
  int32_t channel;       /* -1: the whole array; else this index of its channels */
  int32_t channels_last; /* 1: the array's channels are its last dimension, and not dimension 1 */
  int32_t reserved;      /* 0 */
} segloss_program_tensor;

/* A pointer among the options. */
typedef struct segloss_program_pointer {
  uint32_t at;       /* where it is */
  uint32_t target;   /* what it points to */
  uint32_t bytes;    /* of that */
  uint32_t count_at; /* where the number of its 8-byte elements is; 0: it is a struct with its size */
} segloss_program_pointer;

/* What a program makes of arrays of these shapes and types, whose data is not read and may be NULL: how many doubles its
   statistics and its parts are (0 with items), and the value's type and shape, dense and without data: a number (float32,
   or float64 for float64 predictions), or the items. Parts are the loss, the rest of its struct, then those of levels. */
int32_t segloss_program_outputs(const void *program, int64_t size, const segloss_tensor *arrays, int32_t count,
                                int64_t *statistics, int64_t *parts, segloss_tensor *value, segloss_error *error);

/* How many passes over such arrays value and gradient take in one call: 1 where the gradient's factors follow from the shapes,
   as those of a mean over all elements, else 2. */
int32_t segloss_program_passes(const void *program, int64_t size, const segloss_tensor *arrays, int32_t count, int32_t *passes,
                               segloss_error *error);

/* Statistics, parts and value. Each may be NULL; lengths are in doubles. The value is rounded once, to its tensor's type. */
int32_t segloss_program_forward(const void *program, int64_t size, const segloss_tensor *arrays, int32_t count,
                                double *statistics, int64_t length, double *parts, int64_t parts_length,
                                const segloss_tensor *value, segloss_error *error);

/* The same, and the gradients for an upstream factor of 1 (as below): one call in place of two, for what is small or
   takes one pass. */
int32_t segloss_program_value_and_gradient(const void *program, int64_t size, const segloss_tensor *arrays, int32_t count,
                                           double *statistics, int64_t length, double *parts, int64_t parts_length,
                                           const segloss_tensor *value, const segloss_tensor *const *gradients,
                                           segloss_error *error);

/* Parts and value from statistics. The length may be a multiple of what outputs says: statistics of several batches one
   after the other, which are added in their order. */
int32_t segloss_program_value(const void *program, int64_t size, const segloss_tensor *arrays, int32_t count,
                              const double *statistics, int64_t length, double *parts, int64_t parts_length,
                              const segloss_tensor *value, segloss_error *error);

/* Gradients times an upstream factor, which has the value's shape and any floating type. `gradients` holds a pointer for
   each prediction, NULL where none is wanted. Statistics as above; with items NULL. */
int32_t segloss_program_gradient(const void *program, int64_t size, const segloss_tensor *arrays, int32_t count,
                                 const double *statistics, int64_t length, const segloss_tensor *grad_output,
                                 const segloss_tensor *const *gradients, segloss_error *error);

/* What segloss_program_run does: one of the four functions above. */
enum {
  SEGLOSS_PROGRAM_FORWARD = 0,
  SEGLOSS_PROGRAM_VALUE_AND_GRADIENT = 1,
  SEGLOSS_PROGRAM_VALUE = 2,
  SEGLOSS_PROGRAM_GRADIENT = 3
};

/* Their arguments. What a task does not take is not looked at. */
typedef struct segloss_program_call {
  uint32_t struct_size; /* of this struct */
  int32_t task;         /* SEGLOSS_PROGRAM_FORWARD ... */
  const void *program;
  int64_t size; /* of the program, in bytes */
  const segloss_tensor *arrays;
  int32_t count; /* of them */
  int32_t reserved;
  const segloss_tensor *number; /* the value, or grad_output */
  const segloss_tensor *const *gradients;
  double *parts;
  int64_t parts_length;
  int64_t length; /* of the statistics */
  /* Where the data is: of each array, of the number, and where there are gradients of each prediction, one after the other.
     Tensors that are NULL have a place here all the same. NULL: where the tensors say. */
  void *const *addresses;
  double *statistics;
} segloss_program_call;

/* One of them, with its arguments in a struct: for callers whose calls cost by the argument, and who keep the tensors'
   descriptions from call to call. */
int32_t segloss_program_run(const segloss_program_call *call, segloss_error *error);

/* ---- XLA -------------------------------------------------------------------------------------------------------- */

/* Programs as handlers of XLA's typed foreign function interface (versions 0.1 to 0.3), each an
   XLA_FFI_Error *(XLA_FFI_CallFrame *). Their one attribute is the program, an array of uint8; statistics are buffers of
   uint32, two for each double; parts are rounded to the type of their buffer.
     forward    arrays                            value, statistics, and parts if wanted; or statistics alone
     value      arrays, statistics                value, and parts if wanted
     gradient   arrays, statistics, grad_output   the gradient of each prediction
   Statistics that are given may be those of several batches. A refusal is an error with the library's sentence. */
void *segloss_xla_forward(void *call_frame);
void *segloss_xla_value(void *call_frame);
void *segloss_xla_gradient(void *call_frame);

#ifdef __cplusplus
}
#endif
#endif
