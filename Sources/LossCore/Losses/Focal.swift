import KernelTable

/// Focal loss: what people run, and what the paper says.
///
///     published    L = α·(1 − e^−B)^γ·B,  B the mean cross-entropy          dL = α·(1 − e^−B)^(γ−1)·(1 − e^−B + γ·B·e^−B)·dB
///     paper        ℓ = α_t·(1 − p_t)^γ·CE of each element, then the mean
///
/// p_t = p·y + (1−p)·(1−y), α_t = α·y + (1−α)·(1−y), or 1 for a negative α. The published form focuses on nothing: its
/// factor is one number for the whole batch. At B = 0 its gradient is 0 for every γ.
/// Source: Lin et al. 2017 (arXiv 1708.02002), equation 5, α ¼, γ 2; the "loss function library" form has α 0.8, γ 2.
public struct Focal: PointwiseTerm {
    public enum Variant: Int32, Sendable {
        case published = 0
        case paper = 1
    }

    public var variant: Variant
    public var alpha: Double
    public var gamma: Double
    private let bce: BCE

    public init(_ variant: Variant, alpha: Double, gamma: Double, fromLogits: Bool) throws(LossError) {
        try requireFinite("alpha", alpha)
        try requireFinite("gamma", gamma)
        guard gamma >= 0 else { throw LossError(.option, "gamma: expected at least 0, got \(gamma)") }
        (self.variant, self.alpha, self.gamma) = (variant, alpha, gamma)
        bce = try BCE(fromLogits ? .logits : .log1p)
    }

    public var isProbability: Bool { bce.isProbability }
    public var needsProbabilityTargets: Bool { bce.needsProbabilityTargets }

    /// α_t of a positive, and of a negative.
    private var weights: (Double, Double) { alpha < 0 ? (1, 1) : (alpha, 1 - alpha) }

    public func value(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, of c: Int, to out: UnsafeMutableRawPointer
    ) {
        if variant == .published { return bce.value(b, x, y, of: c, to: out) }
        if bce.form == .logits {
            b.kernels.focal_logits(x, y, weights.0, weights.1, gamma, out, b.padded)
        } else {
            bce.value(b, x, y, of: c, to: out)
            b.kernels.focal(x, y, out, weights.0, weights.1, gamma, out, b.padded)
        }
    }

    public func gradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double,
        scratch: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer
    ) {
        if variant == .published { return bce.gradient(b, x, y, w, of: c, times: factor, scratch: scratch, to: out) }
        if bce.form == .logits {
            b.kernels.focal_logits_gradient(x, y, w, weights.0, weights.1, gamma, factor, out, b.padded)
        } else {
            bce.value(b, x, y, of: c, to: scratch)
            b.kernels.focal_gradient(x, y, scratch, w, weights.0, weights.1, gamma, factor, out, b.padded)
        }
    }

    public func valueAndGradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double, value: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer
    ) -> Bool {
        guard variant != .published, bce.form == .logits else { return false }
        b.kernels.focal_logits_both(x, y, w, weights.0, weights.1, gamma, factor, value, out, b.padded)
        return true
    }

    public var isOfMean: Bool { variant == .published }

    public func outer(_ mean: Double) -> (value: Double, slope: Double) {
        guard variant == .published else { return (mean, 1) }
        let u = oneMinusExponential(mean)
        guard mean != 0 else { return (0, 0) }
        return (alpha * power(u, gamma) * mean, alpha * power(u, gamma - 1) * (u + gamma * mean * exponential(-mean)))
    }
}
