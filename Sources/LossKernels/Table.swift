import KernelTable

typealias In = UnsafeRawPointer
typealias Out = UnsafeMutableRawPointer
typealias Sums = UnsafeMutablePointer<Double>
typealias Planes = UnsafePointer<UnsafeRawPointer>

// What gives each element its result takes two vectors at a time. So does what adds up where registers are many: without
// AVX-512 the sums of two vectors leave too few.
typealias P32 = Pair<V32>
typealias P64 = Pair<V64>
#if AVX512
    typealias S32 = P32
    typealias S64 = P64
#else
    typealias S32 = V32
    typealias S64 = V64
#endif

/// This module's kernels, compiled for the instruction set that the package description gives it. LossCore knows them by their
/// C names alone: an imported function may be compiled anew where it is called, for another instruction set.
#if AVX512
    @c(loss_kernels_avx512)
#elseif AVX2
    @c(loss_kernels_avx2)
#else
    @c(loss_kernels_baseline)
#endif
public func kernelTable() -> KernelTable {
    KernelTable(
        exp: { V64($0).exp().lanes[0] },
        log: { V64($0).log().lanes[0] },
        f32: Kernels(
            overlap: { overlap(S32.self, $0, $1, $2, $3, $4, $5) },
            overlap_logits: { overlapLogits(S32.self, $0, $1, $2, $3, $4) },
            overlap_bce_logits: { overlapCrossEntropyLogits(S32.self, $0, $1, $2, $3, $4) },
            overlap_logits_gradient: { overlapLogitsGradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            masked_affine: { maskedAffine(P32.self, $0, $1, $2, $3, $4, $5) },
            difference: { difference(S32.self, $0, $1, $2, $3, $4) },
            difference_gradient: { differenceGradient(P32.self, $0, $1, $2, $3, $4, $5) },
            balance_weights: { balanceWeights(P32.self, $0, $1, $2, $3, $4) },
            balance_weights_u8: { balanceWeightsU8(P32.self, $0, $1, $2, $3, $4) },
            sum: { sum1(S32.self, $0, $1, $2) },
            sum2: { sum2(S32.self, $0, $1, $2, $3) },
            dot: { dot(S32.self, $0, $1, $2, $3) },
            product: { product(P32.self, $0, $1, $2, $3) },
            clear: { clear(P32.self, $0, $1) },
            scale: { scale(P32.self, $0, $1, $2, $3) },
            add_scaled: { addScaled(P32.self, $0, $1, $2, $3) },
            keep: { keep(P32.self, $0, $1, $2, $3) },
            bce_log: { bce(P32.self, $0, $1, $2, $3, log1p: false) },
            bce_log1p: { bce(P32.self, $0, $1, $2, $3, log1p: true) },
            bce_logits: { bceLogits(P32.self, $0, $1, $2, $3, $4) },
            bce_gradient: { bceGradient(P32.self, $0, $1, $2, $3, $4, $5) },
            bce_logits_gradient: { bceLogitsGradient(P32.self, $0, $1, $2, $3, $4, $5, $6) },
            bce_logits_both: { bceLogitsBoth(P32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_logits: { focalLogits(P32.self, $0, $1, $2, $3, $4, $5, $6) },
            focal_logits_gradient: { focalLogitsGradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            focal_logits_both: { focalLogitsBoth(P32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            focal: { focal(P32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_gradient: { focalGradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            smooth_l1: { smoothL1(P32.self, $0, $1, $2, $3, $4, $5) },
            smooth_l1_gradient: { smoothL1Gradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            softmax: { softmax(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            softmax_gradient: { softmaxGradient(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            cross_entropy_labels: { crossEntropyLabels(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            cross_entropy_smoothed: {
                crossEntropySmoothed(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            },
            label_weights: { labelWeights(P32.self, $0, $1, $2, $3, $4, $5) },
            log_sum_exp: { logSumExp(V32.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_add: { crossEntropyAdd(P32.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_targets: { crossEntropyTargets(V32.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_gradient: { crossEntropyGradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            one_hot: { oneHot(P32.self, $0, $1, $2, $3) },
            not_ignored: { notIgnored(P32.self, $0, $1, $2, $3, $4) },
            ones: { ones(P32.self, $0, $1, $2) },
            scaled_difference: { scaledDifference(P32.self, $0, $1, $2, $3, $4) },
            sigmoid: { sigmoid(P32.self, $0, $1, $2) },
            sigmoid_gradient: { sigmoidGradient(P32.self, $0, $1, $2, $3, $4) },
            is_binary: { isBinary(P32.self, $0, $1) },
            is_probability: { isProbability(P32.self, $0, $1, $2) },
            is_finite: { isFinite(P32.self, $0, $1) },
            are_labels: { areLabels(P32.self, $0, $1, $2, $3) },
            key_bits: 32,
            histogram: { histogram(V32.self, $0, $1, Int($2), Int($3), $4, $5) },
            value_of_key: { V32.value(ofKey: $0) },
            sum_above: { sumAbove(S32.self, $0, Int($1), $2, $3, $4) },
            count_equal: { countEqual(S32.self, $0, $1, $2) },
            selected: { selected(P32.self, $0, $1, $2, $3, $4, $5) },
            ohem_pool: { ohemPool(S32.self, $0, $1, $2, $3, $4, $5, $6) },
            ohem_mask: { ohemMask(P32.self, $0, $1, $2, $3, $4, $5) },
            column_sums: { columnSums(V32.self, $0, $1, $2, $3, $4) },
            window_weights: {
                $11
                    ? structureWeights($0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10) { (mean: V32) in mean }
                    : structureWeights($0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, V32.init(narrowing:))
            },
            structure: { structureSums(S32.self, $0, $1, $2, $3, $4, $5) },
            structure_gradient: { structureGradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            structure_pixels: { structurePixels(S32.self, $0, $1, $2, $3, $4, $5) },
            structure_pixels_gradient: { structurePixelsGradient(P32.self, $0, $1, $2, $3, $4, $5, $6) },
            sigmoids: { sigmoids(P32.self, $0, $1, $2, $3) },
            contour_length: { contourLength(S32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_slopes: { contourSlopes(S32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            contour_region: { contourRegion(S32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_gradient: { contourGradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) },
            row_max: { rowWindow(V32.self, Largest.self, $0, $1, $2, $3, $4, $5, $6) },
            row_or: { rowWindow(V32.self, Union.self, $0, $1, $2, $2, $3, nil, $4) },
            column_max: { columnWindow(V32.self, Largest.self, $0, $1, $2, $3, $4, $5, $6) },
            column_or: { columnWindow(V32.self, Union.self, $0, $1, $2, 0, $3, nil, $4) },
            merge_max: { merged(V32.self, Largest.self, $0, $1, $2, $3, $4, $5, $6) },
            merge_or: { merged(V32.self, Union.self, $0, nil, $1, nil, $2, nil, $3) },
            fill_whole: { fillWhole(V32.self, $0, $1, $2) },
            column_route: { columnRoute(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            row_route: { rowRoute(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            column_runs: { columnRuns(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            column_runs_end: { columnRunsEnd(V32.self, $0, $1, $2, $3, $4) },
            row_scatter: { rowScatter(V32.self, $0, $1, $2, $3) },
            boundary_keys: { boundaryKeys(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            boundary_edges: { boundaryEdges(V32.self, $0, $1, $2, $3) },
            boundary_labels: { boundaryLabels(V32.self, $0, $1, $2, $3, $4, $5) },
            boundary_classes: { boundaryClasses(V32.self, $0, $1, $2, $3, $4, $5) },
            boundary_bits: { boundaryBits(V32.self, $0, $1, $2, $3) },
            boundary_truth: { boundaryTruth(P32.self, $0, $1, $2, $3) },
            boundary_sums: { boundarySums(S32.self, $0, $1, $2, $3, $4, $5, $6) },
            boundary_edge_gradient: {
                boundaryEdgeGradient(P32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            }),
        f64: Kernels(
            overlap: { overlap(S64.self, $0, $1, $2, $3, $4, $5) },
            overlap_logits: { overlapLogits(S64.self, $0, $1, $2, $3, $4) },
            overlap_bce_logits: { overlapCrossEntropyLogits(S64.self, $0, $1, $2, $3, $4) },
            overlap_logits_gradient: { overlapLogitsGradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            masked_affine: { maskedAffine(P64.self, $0, $1, $2, $3, $4, $5) },
            difference: { difference(S64.self, $0, $1, $2, $3, $4) },
            difference_gradient: { differenceGradient(P64.self, $0, $1, $2, $3, $4, $5) },
            balance_weights: { balanceWeights(P64.self, $0, $1, $2, $3, $4) },
            balance_weights_u8: { balanceWeightsU8(P64.self, $0, $1, $2, $3, $4) },
            sum: { sum1(S64.self, $0, $1, $2) },
            sum2: { sum2(S64.self, $0, $1, $2, $3) },
            dot: { dot(S64.self, $0, $1, $2, $3) },
            product: { product(P64.self, $0, $1, $2, $3) },
            clear: { clear(P64.self, $0, $1) },
            scale: { scale(P64.self, $0, $1, $2, $3) },
            add_scaled: { addScaled(P64.self, $0, $1, $2, $3) },
            keep: { keep(P64.self, $0, $1, $2, $3) },
            bce_log: { bce(P64.self, $0, $1, $2, $3, log1p: false) },
            bce_log1p: { bce(P64.self, $0, $1, $2, $3, log1p: true) },
            bce_logits: { bceLogits(P64.self, $0, $1, $2, $3, $4) },
            bce_gradient: { bceGradient(P64.self, $0, $1, $2, $3, $4, $5) },
            bce_logits_gradient: { bceLogitsGradient(P64.self, $0, $1, $2, $3, $4, $5, $6) },
            bce_logits_both: { bceLogitsBoth(P64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_logits: { focalLogits(P64.self, $0, $1, $2, $3, $4, $5, $6) },
            focal_logits_gradient: { focalLogitsGradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            focal_logits_both: { focalLogitsBoth(P64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            focal: { focal(P64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_gradient: { focalGradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            smooth_l1: { smoothL1(P64.self, $0, $1, $2, $3, $4, $5) },
            smooth_l1_gradient: { smoothL1Gradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            softmax: { softmax(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            softmax_gradient: { softmaxGradient(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            cross_entropy_labels: { crossEntropyLabels(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            cross_entropy_smoothed: {
                crossEntropySmoothed(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            },
            label_weights: { labelWeights(P64.self, $0, $1, $2, $3, $4, $5) },
            log_sum_exp: { logSumExp(V64.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_add: { crossEntropyAdd(P64.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_targets: { crossEntropyTargets(V64.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_gradient: { crossEntropyGradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            one_hot: { oneHot(P64.self, $0, $1, $2, $3) },
            not_ignored: { notIgnored(P64.self, $0, $1, $2, $3, $4) },
            ones: { ones(P64.self, $0, $1, $2) },
            scaled_difference: { scaledDifference(P64.self, $0, $1, $2, $3, $4) },
            sigmoid: { sigmoid(P64.self, $0, $1, $2) },
            sigmoid_gradient: { sigmoidGradient(P64.self, $0, $1, $2, $3, $4) },
            is_binary: { isBinary(P64.self, $0, $1) },
            is_probability: { isProbability(P64.self, $0, $1, $2) },
            is_finite: { isFinite(P64.self, $0, $1) },
            are_labels: { areLabels(P64.self, $0, $1, $2, $3) },
            key_bits: 64,
            histogram: { histogram(V64.self, $0, $1, Int($2), Int($3), $4, $5) },
            value_of_key: { V64.value(ofKey: $0) },
            sum_above: { sumAbove(S64.self, $0, Int($1), $2, $3, $4) },
            count_equal: { countEqual(S64.self, $0, $1, $2) },
            selected: { selected(P64.self, $0, $1, $2, $3, $4, $5) },
            ohem_pool: { ohemPool(S64.self, $0, $1, $2, $3, $4, $5, $6) },
            ohem_mask: { ohemMask(P64.self, $0, $1, $2, $3, $4, $5) },
            column_sums: { columnSums(V64.self, $0, $1, $2, $3, $4) },
            window_weights: { columns, fours, sixteens, radius, y, widths, divisor, gain, count, out, n, _ in
                structureWeights(columns, fours, sixteens, radius, y, widths, divisor, gain, count, out, n) {
                    (mean: V64) in mean
                }
            },
            structure: { structureSums(S64.self, $0, $1, $2, $3, $4, $5) },
            structure_gradient: { structureGradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            structure_pixels: { structurePixels(S64.self, $0, $1, $2, $3, $4, $5) },
            structure_pixels_gradient: { structurePixelsGradient(P64.self, $0, $1, $2, $3, $4, $5, $6) },
            sigmoids: { sigmoids(P64.self, $0, $1, $2, $3) },
            contour_length: { contourLength(S64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_slopes: { contourSlopes(S64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            contour_region: { contourRegion(S64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_gradient: { contourGradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) },
            row_max: { rowWindow(V64.self, Largest.self, $0, $1, $2, $3, $4, $5, $6) },
            row_or: { rowWindow(V64.self, Union.self, $0, $1, $2, $2, $3, nil, $4) },
            column_max: { columnWindow(V64.self, Largest.self, $0, $1, $2, $3, $4, $5, $6) },
            column_or: { columnWindow(V64.self, Union.self, $0, $1, $2, 0, $3, nil, $4) },
            merge_max: { merged(V64.self, Largest.self, $0, $1, $2, $3, $4, $5, $6) },
            merge_or: { merged(V64.self, Union.self, $0, nil, $1, nil, $2, nil, $3) },
            fill_whole: { fillWhole(V64.self, $0, $1, $2) },
            column_route: { columnRoute(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            row_route: { rowRoute(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            column_runs: { columnRuns(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            column_runs_end: { columnRunsEnd(V64.self, $0, $1, $2, $3, $4) },
            row_scatter: { rowScatter(V64.self, $0, $1, $2, $3) },
            boundary_keys: { boundaryKeys(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            boundary_edges: { boundaryEdges(V64.self, $0, $1, $2, $3) },
            boundary_labels: { boundaryLabels(V64.self, $0, $1, $2, $3, $4, $5) },
            boundary_classes: { boundaryClasses(V64.self, $0, $1, $2, $3, $4, $5) },
            boundary_bits: { boundaryBits(V64.self, $0, $1, $2, $3) },
            boundary_truth: { boundaryTruth(P64.self, $0, $1, $2, $3) },
            boundary_sums: { boundarySums(S64.self, $0, $1, $2, $3, $4, $5, $6) },
            boundary_edge_gradient: {
                boundaryEdgeGradient(P64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            }),
        to_f32: Conversions(
            f32: Conversion(
                widen: { widenToF32(F32.self, $0, $1, $2, $3) }, narrow: { narrowF32(F32.self, $0, $1, $2, $3) },
                widen_columns: { widenColumns(F32.self, $0, $1, $2, $3, $4, $5) },
                narrow_columns: { narrowColumns(F32.self, $0, $1, $2, $3, $4, $5) }),
            f64: Conversion(
                widen: { widenToF32(F64.self, $0, $1, $2, $3) }, narrow: { narrowF32(F64.self, $0, $1, $2, $3) }),
            f16: Conversion(
                widen: { widenToF32(F16.self, $0, $1, $2, $3) }, narrow: { narrowF32(F16.self, $0, $1, $2, $3) },
                widen_columns: { widenColumns(F16.self, $0, $1, $2, $3, $4, $5) },
                narrow_columns: { narrowColumns(F16.self, $0, $1, $2, $3, $4, $5) }),
            bf16: Conversion(
                widen: { widenToF32(BF16.self, $0, $1, $2, $3) }, narrow: { narrowF32(BF16.self, $0, $1, $2, $3) },
                widen_columns: { widenColumns(BF16.self, $0, $1, $2, $3, $4, $5) },
                narrow_columns: { narrowColumns(BF16.self, $0, $1, $2, $3, $4, $5) }),
            u8: Conversion(
                widen: { widenToF32(U8.self, $0, $1, $2, $3) }, narrow: nil,
                widen_columns: { widenColumns(U8.self, $0, $1, $2, $3, $4, $5) }, narrow_columns: nil),
            i32: Conversion(widen: { widenToF32(I32.self, $0, $1, $2, $3) }, narrow: nil),
            i64: Conversion(widen: { widenToF32(I64.self, $0, $1, $2, $3) }, narrow: nil)),
        to_f64: Conversions(
            f32: Conversion(
                widen: { widenToF64(F32.self, $0, $1, $2, $3) }, narrow: { narrowF64(F32.self, $0, $1, $2, $3) }),
            f64: Conversion(
                widen: { widenToF64(F64.self, $0, $1, $2, $3) }, narrow: { narrowF64(F64.self, $0, $1, $2, $3) }),
            f16: Conversion(
                widen: { widenToF64(F16.self, $0, $1, $2, $3) }, narrow: { narrowF64(F16.self, $0, $1, $2, $3) }),
            bf16: Conversion(
                widen: { widenToF64(BF16.self, $0, $1, $2, $3) }, narrow: { narrowF64(BF16.self, $0, $1, $2, $3) }),
            u8: Conversion(widen: { widenToF64(U8.self, $0, $1, $2, $3) }, narrow: nil),
            i32: Conversion(widen: { widenToF64(I32.self, $0, $1, $2, $3) }, narrow: nil),
            i64: Conversion(widen: { widenToF64(I64.self, $0, $1, $2, $3) }, narrow: nil)))
}

extension Conversion {
    /// Columns one by one.
    fileprivate init(
        widen: @escaping @convention(c) (In, Int, Out, Int) -> Void,
        narrow: (@convention(c) (In, Out, Int, Int) -> Void)?
    ) {
        self.init(widen: widen, narrow: narrow, widen_columns: nil, narrow_columns: nil)
    }
}
