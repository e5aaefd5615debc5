import KernelTable

typealias In = UnsafeRawPointer
typealias Out = UnsafeMutableRawPointer
typealias Sums = UnsafeMutablePointer<Double>

/// This module's kernels, compiled for the instruction set that the package description gives it.
public func kernelTable() -> KernelTable {
    KernelTable(
        f32: Kernels(
            overlap: { overlap(V32.self, $0, $1, $2, $3, $4) },
            masked_affine: { maskedAffine(V32.self, $0, $1, $2, $3, $4, $5) },
            difference: { difference(V32.self, $0, $1, $2, $3, $4) },
            difference_gradient: { differenceGradient(V32.self, $0, $1, $2, $3, $4, $5) },
            balance_weights: { balanceWeights(V32.self, $0, $1, $2, $3, $4) },
            balance_weights_u8: { balanceWeightsU8(V32.self, $0, $1, $2, $3, $4) },
            sum: { sum1(V32.self, $0, $1, $2) },
            sum2: { sum2(V32.self, $0, $1, $2, $3) },
            dot: { dot(V32.self, $0, $1, $2, $3) },
            product: { product(V32.self, $0, $1, $2, $3) },
            scale: { scale(V32.self, $0, $1, $2, $3) },
            add_scaled: { addScaled(V32.self, $0, $1, $2, $3) },
            keep: { keep(V32.self, $0, $1, $2, $3) },
            bce_log: { bce(V32.self, $0, $1, $2, $3, log1p: false) },
            bce_log1p: { bce(V32.self, $0, $1, $2, $3, log1p: true) },
            bce_logits: { bceLogits(V32.self, $0, $1, $2, $3) },
            bce_gradient: { bceGradient(V32.self, $0, $1, $2, $3) },
            bce_logits_gradient: { bceLogitsGradient(V32.self, $0, $1, $2, $3) },
            scaled_difference: { scaledDifference(V32.self, $0, $1, $2, $3, $4) },
            sigmoid: { sigmoid(V32.self, $0, $1, $2) },
            sigmoid_gradient: { sigmoidGradient(V32.self, $0, $1, $2, $3, $4) },
            is_binary: { isBinary(V32.self, $0, $1) },
            is_probability: { isProbability(V32.self, $0, $1) },
            is_finite: { isFinite(V32.self, $0, $1) },
            key_bits: 32,
            histogram: { histogram(V32.self, $0, $1, Int($2), Int($3), $4, $5) },
            value_of_key: { V32.value(ofKey: $0) },
            sum_above: { sumAbove(V32.self, $0, Int($1), $2, $3, $4) },
            count_equal: { countEqual(V32.self, $0, $1, $2) },
            selected: { selected(V32.self, $0, $1, $2, $3, $4, $5) },
            ohem_pool: { ohemPool(V32.self, $0, $1, $2, $3, $4, $5, $6) },
            ohem_mask: { ohemMask(V32.self, $0, $1, $2, $3, $4, $5) }),
        f64: Kernels(
            overlap: { overlap(V64.self, $0, $1, $2, $3, $4) },
            masked_affine: { maskedAffine(V64.self, $0, $1, $2, $3, $4, $5) },
            difference: { difference(V64.self, $0, $1, $2, $3, $4) },
            difference_gradient: { differenceGradient(V64.self, $0, $1, $2, $3, $4, $5) },
            balance_weights: { balanceWeights(V64.self, $0, $1, $2, $3, $4) },
            balance_weights_u8: { balanceWeightsU8(V64.self, $0, $1, $2, $3, $4) },
            sum: { sum1(V64.self, $0, $1, $2) },
            sum2: { sum2(V64.self, $0, $1, $2, $3) },
            dot: { dot(V64.self, $0, $1, $2, $3) },
            product: { product(V64.self, $0, $1, $2, $3) },
            scale: { scale(V64.self, $0, $1, $2, $3) },
            add_scaled: { addScaled(V64.self, $0, $1, $2, $3) },
            keep: { keep(V64.self, $0, $1, $2, $3) },
            bce_log: { bce(V64.self, $0, $1, $2, $3, log1p: false) },
            bce_log1p: { bce(V64.self, $0, $1, $2, $3, log1p: true) },
            bce_logits: { bceLogits(V64.self, $0, $1, $2, $3) },
            bce_gradient: { bceGradient(V64.self, $0, $1, $2, $3) },
            bce_logits_gradient: { bceLogitsGradient(V64.self, $0, $1, $2, $3) },
            scaled_difference: { scaledDifference(V64.self, $0, $1, $2, $3, $4) },
            sigmoid: { sigmoid(V64.self, $0, $1, $2) },
            sigmoid_gradient: { sigmoidGradient(V64.self, $0, $1, $2, $3, $4) },
            is_binary: { isBinary(V64.self, $0, $1) },
            is_probability: { isProbability(V64.self, $0, $1) },
            is_finite: { isFinite(V64.self, $0, $1) },
            key_bits: 64,
            histogram: { histogram(V64.self, $0, $1, Int($2), Int($3), $4, $5) },
            value_of_key: { V64.value(ofKey: $0) },
            sum_above: { sumAbove(V64.self, $0, Int($1), $2, $3, $4) },
            count_equal: { countEqual(V64.self, $0, $1, $2) },
            selected: { selected(V64.self, $0, $1, $2, $3, $4, $5) },
            ohem_pool: { ohemPool(V64.self, $0, $1, $2, $3, $4, $5, $6) },
            ohem_mask: { ohemMask(V64.self, $0, $1, $2, $3, $4, $5) }),
        to_f32: Conversions(
            f32: Conversion(
                widen: { widenToF32(F32.self, $0, $1, $2, $3) }, narrow: { narrowF32(F32.self, $0, $1, $2, $3) }),
            f64: Conversion(
                widen: { widenToF32(F64.self, $0, $1, $2, $3) }, narrow: { narrowF32(F64.self, $0, $1, $2, $3) }),
            f16: Conversion(
                widen: { widenToF32(F16.self, $0, $1, $2, $3) }, narrow: { narrowF32(F16.self, $0, $1, $2, $3) }),
            bf16: Conversion(
                widen: { widenToF32(BF16.self, $0, $1, $2, $3) }, narrow: { narrowF32(BF16.self, $0, $1, $2, $3) }),
            u8: Conversion(widen: { widenToF32(U8.self, $0, $1, $2, $3) }, narrow: nil),
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
