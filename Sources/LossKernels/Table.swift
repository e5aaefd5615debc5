import KernelTable

typealias In = UnsafeRawPointer
typealias Out = UnsafeMutableRawPointer
typealias Sums = UnsafeMutablePointer<Double>
typealias Planes = UnsafePointer<UnsafeRawPointer>

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
            overlap: { overlap(V32.self, $0, $1, $2, $3, $4, $5) },
            overlap_logits: { overlapLogits(V32.self, $0, $1, $2, $3, $4) },
            overlap_bce_logits: { overlapCrossEntropyLogits(V32.self, $0, $1, $2, $3, $4) },
            overlap_logits_gradient: { overlapLogitsGradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            masked_affine: { maskedAffine(V32.self, $0, $1, $2, $3, $4, $5) },
            difference: { difference(V32.self, $0, $1, $2, $3, $4) },
            difference_gradient: { differenceGradient(V32.self, $0, $1, $2, $3, $4, $5) },
            balance_weights: { balanceWeights(V32.self, $0, $1, $2, $3, $4) },
            balance_weights_u8: { balanceWeightsU8(V32.self, $0, $1, $2, $3, $4) },
            sum: { sum1(V32.self, $0, $1, $2) },
            sum2: { sum2(V32.self, $0, $1, $2, $3) },
            dot: { dot(V32.self, $0, $1, $2, $3) },
            product: { product(V32.self, $0, $1, $2, $3) },
            clear: { clear(V32.self, $0, $1) },
            scale: { scale(V32.self, $0, $1, $2, $3) },
            add_scaled: { addScaled(V32.self, $0, $1, $2, $3) },
            keep: { keep(V32.self, $0, $1, $2, $3) },
            bce_log: { bce(V32.self, $0, $1, $2, $3, log1p: false) },
            bce_log1p: { bce(V32.self, $0, $1, $2, $3, log1p: true) },
            bce_logits: { bceLogits(V32.self, $0, $1, $2, $3, $4) },
            bce_gradient: { bceGradient(V32.self, $0, $1, $2, $3, $4, $5) },
            bce_logits_gradient: { bceLogitsGradient(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            bce_logits_both: { bceLogitsBoth(V32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_logits: { focalLogits(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            focal_logits_gradient: { focalLogitsGradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            focal_logits_both: { focalLogitsBoth(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            focal: { focal(V32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_gradient: { focalGradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            smooth_l1: { smoothL1(V32.self, $0, $1, $2, $3, $4, $5) },
            smooth_l1_gradient: { smoothL1Gradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            softmax: { softmax(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            softmax_gradient: { softmaxGradient(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            cross_entropy_labels: { crossEntropyLabels(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            cross_entropy_smoothed: {
                crossEntropySmoothed(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            },
            label_weights: { labelWeights(V32.self, $0, $1, $2, $3, $4, $5) },
            log_sum_exp: { logSumExp(V32.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_add: { crossEntropyAdd(V32.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_targets: { crossEntropyTargets(V32.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_gradient: { crossEntropyGradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            one_hot: { oneHot(V32.self, $0, $1, $2, $3) },
            not_ignored: { notIgnored(V32.self, $0, $1, $2, $3, $4) },
            ones: { ones(V32.self, $0, $1, $2) },
            scaled_difference: { scaledDifference(V32.self, $0, $1, $2, $3, $4) },
            sigmoid: { sigmoid(V32.self, $0, $1, $2) },
            sigmoid_gradient: { sigmoidGradient(V32.self, $0, $1, $2, $3, $4) },
            is_binary: { isBinary(V32.self, $0, $1) },
            is_probability: { isProbability(V32.self, $0, $1, $2) },
            is_finite: { isFinite(V32.self, $0, $1) },
            are_labels: { areLabels(V32.self, $0, $1, $2, $3) },
            key_bits: 32,
            histogram: { histogram(V32.self, $0, $1, Int($2), Int($3), $4, $5) },
            value_of_key: { V32.value(ofKey: $0) },
            sum_above: { sumAbove(V32.self, $0, Int($1), $2, $3, $4) },
            count_equal: { countEqual(V32.self, $0, $1, $2) },
            selected: { selected(V32.self, $0, $1, $2, $3, $4, $5) },
            ohem_pool: { ohemPool(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            ohem_mask: { ohemMask(V32.self, $0, $1, $2, $3, $4, $5) },
            column_sums: { columnSums(V32.self, $0, $1, $2, $3, $4) },
            window_weights: {
                $11
                    ? structureWeights($0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10) { (mean: V32) in mean }
                    : structureWeights($0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, V32.init(narrowing:))
            },
            structure: { structureSums(V32.self, $0, $1, $2, $3, $4, $5) },
            structure_gradient: { structureGradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            structure_pixels: { structurePixels(V32.self, $0, $1, $2, $3, $4, $5) },
            structure_pixels_gradient: { structurePixelsGradient(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            sigmoids: { sigmoids(V32.self, $0, $1, $2, $3) },
            contour_length: { contourLength(V32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_slopes: { contourSlopes(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            contour_region: { contourRegion(V32.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_gradient: { contourGradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) },
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
            boundary_truth: { boundaryTruth(V32.self, $0, $1, $2, $3) },
            boundary_sums: { boundarySums(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            boundary_edge_gradient: {
                boundaryEdgeGradient(V32.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            }),
        f64: Kernels(
            overlap: { overlap(V64.self, $0, $1, $2, $3, $4, $5) },
            overlap_logits: { overlapLogits(V64.self, $0, $1, $2, $3, $4) },
            overlap_bce_logits: { overlapCrossEntropyLogits(V64.self, $0, $1, $2, $3, $4) },
            overlap_logits_gradient: { overlapLogitsGradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            masked_affine: { maskedAffine(V64.self, $0, $1, $2, $3, $4, $5) },
            difference: { difference(V64.self, $0, $1, $2, $3, $4) },
            difference_gradient: { differenceGradient(V64.self, $0, $1, $2, $3, $4, $5) },
            balance_weights: { balanceWeights(V64.self, $0, $1, $2, $3, $4) },
            balance_weights_u8: { balanceWeightsU8(V64.self, $0, $1, $2, $3, $4) },
            sum: { sum1(V64.self, $0, $1, $2) },
            sum2: { sum2(V64.self, $0, $1, $2, $3) },
            dot: { dot(V64.self, $0, $1, $2, $3) },
            product: { product(V64.self, $0, $1, $2, $3) },
            clear: { clear(V64.self, $0, $1) },
            scale: { scale(V64.self, $0, $1, $2, $3) },
            add_scaled: { addScaled(V64.self, $0, $1, $2, $3) },
            keep: { keep(V64.self, $0, $1, $2, $3) },
            bce_log: { bce(V64.self, $0, $1, $2, $3, log1p: false) },
            bce_log1p: { bce(V64.self, $0, $1, $2, $3, log1p: true) },
            bce_logits: { bceLogits(V64.self, $0, $1, $2, $3, $4) },
            bce_gradient: { bceGradient(V64.self, $0, $1, $2, $3, $4, $5) },
            bce_logits_gradient: { bceLogitsGradient(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            bce_logits_both: { bceLogitsBoth(V64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_logits: { focalLogits(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            focal_logits_gradient: { focalLogitsGradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            focal_logits_both: { focalLogitsBoth(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            focal: { focal(V64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            focal_gradient: { focalGradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            smooth_l1: { smoothL1(V64.self, $0, $1, $2, $3, $4, $5) },
            smooth_l1_gradient: { smoothL1Gradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            softmax: { softmax(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            softmax_gradient: { softmaxGradient(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            cross_entropy_labels: { crossEntropyLabels(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            cross_entropy_smoothed: {
                crossEntropySmoothed(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            },
            label_weights: { labelWeights(V64.self, $0, $1, $2, $3, $4, $5) },
            log_sum_exp: { logSumExp(V64.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_add: { crossEntropyAdd(V64.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_targets: { crossEntropyTargets(V64.self, $0, $1, $2, $3, $4, $5) },
            cross_entropy_gradient: { crossEntropyGradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            one_hot: { oneHot(V64.self, $0, $1, $2, $3) },
            not_ignored: { notIgnored(V64.self, $0, $1, $2, $3, $4) },
            ones: { ones(V64.self, $0, $1, $2) },
            scaled_difference: { scaledDifference(V64.self, $0, $1, $2, $3, $4) },
            sigmoid: { sigmoid(V64.self, $0, $1, $2) },
            sigmoid_gradient: { sigmoidGradient(V64.self, $0, $1, $2, $3, $4) },
            is_binary: { isBinary(V64.self, $0, $1) },
            is_probability: { isProbability(V64.self, $0, $1, $2) },
            is_finite: { isFinite(V64.self, $0, $1) },
            are_labels: { areLabels(V64.self, $0, $1, $2, $3) },
            key_bits: 64,
            histogram: { histogram(V64.self, $0, $1, Int($2), Int($3), $4, $5) },
            value_of_key: { V64.value(ofKey: $0) },
            sum_above: { sumAbove(V64.self, $0, Int($1), $2, $3, $4) },
            count_equal: { countEqual(V64.self, $0, $1, $2) },
            selected: { selected(V64.self, $0, $1, $2, $3, $4, $5) },
            ohem_pool: { ohemPool(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            ohem_mask: { ohemMask(V64.self, $0, $1, $2, $3, $4, $5) },
            column_sums: { columnSums(V64.self, $0, $1, $2, $3, $4) },
            window_weights: { columns, fours, sixteens, radius, y, widths, divisor, gain, count, out, n, _ in
                structureWeights(columns, fours, sixteens, radius, y, widths, divisor, gain, count, out, n) {
                    (mean: V64) in mean
                }
            },
            structure: { structureSums(V64.self, $0, $1, $2, $3, $4, $5) },
            structure_gradient: { structureGradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8) },
            structure_pixels: { structurePixels(V64.self, $0, $1, $2, $3, $4, $5) },
            structure_pixels_gradient: { structurePixelsGradient(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            sigmoids: { sigmoids(V64.self, $0, $1, $2, $3) },
            contour_length: { contourLength(V64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_slopes: { contourSlopes(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9) },
            contour_region: { contourRegion(V64.self, $0, $1, $2, $3, $4, $5, $6, $7) },
            contour_gradient: { contourGradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) },
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
            boundary_truth: { boundaryTruth(V64.self, $0, $1, $2, $3) },
            boundary_sums: { boundarySums(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            boundary_edge_gradient: {
                boundaryEdgeGradient(V64.self, $0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
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
