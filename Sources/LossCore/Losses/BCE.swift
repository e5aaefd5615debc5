import KernelTable

/// Binary cross-entropy of each element.
///
///     logits           ℓ = (1−y)·softplus(x) + a·y·softplus(−x)         dℓ/dx = (1−y)·σ(x) − a·y·(1−σ(x))
///     probabilities    ℓ = −y·max(log p, −100) − (1−y)·max(L, −100)     dℓ/dp = (p − y)/max(p(1−p), 1e-12)
///
/// a is `pos_weight`; L is log1p(−p) as PyTorch has it, or log(1−p), PaddlePaddle's. From logits nothing is capped and no
/// gradient dies. The clamp of the other form is not differentiated, as in both frameworks.
/// Source: `BCEWithLogitsLoss` and `BCELoss` of PyTorch, `BCELoss` of PaddlePaddle.
public struct BCE: PointwiseTerm {
    public enum Form: Int32, Sendable {
        /// Probabilities, log(1 − p): PaddlePaddle.
        case log = 0
        /// Probabilities, log1p(−p): PyTorch, which also wants targets in [0, 1].
        case log1p = 1
        case logits = 2
    }

    public var form: Form
    /// A factor for positives: one, or one a class.
    public var positiveWeights: [Double]

    public init(_ form: Form, positiveWeights: [Double] = []) throws(LossError) {
        for weight in positiveWeights {
            guard form == .logits else {
                throw LossError(.unsupported, "pos_weight: only logits take it, and the input is probabilities")
            }
            try requireFinite("pos_weight", weight)
        }
        (self.form, self.positiveWeights) = (form, positiveWeights)
    }

    public var isProbability: Bool { form != .logits }
    public var needsProbabilityTargets: Bool { form == .log1p }
    public var isPerClass: Bool { positiveWeights.count > 1 }

    public func require(channels: Int) throws(LossError) {
        guard positiveWeights.count <= 1 || positiveWeights.count == channels else {
            throw LossError(
                .option, "pos_weight: expected one number or \(channels), one a class, got \(positiveWeights.count)")
        }
    }

    private func positiveWeight(_ c: Int) -> Double {
        positiveWeights.isEmpty ? 1 : positiveWeights[positiveWeights.count == 1 ? 0 : c]
    }

    public func value(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, of c: Int, to out: UnsafeMutableRawPointer
    ) {
        switch form {
        case .log: b.kernels.bce_log(x, y, out, b.padded)
        case .log1p: b.kernels.bce_log1p(x, y, out, b.padded)
        case .logits: b.kernels.bce_logits(x, y, positiveWeight(c), out, b.padded)
        }
    }

    public func gradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double,
        scratch: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer
    ) {
        form == .logits
            ? b.kernels.bce_logits_gradient(x, y, w, positiveWeight(c), factor, out, b.padded)
            : b.kernels.bce_gradient(x, y, w, factor, out, b.padded)
    }

    public func valueAndGradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double, value: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer
    ) -> Bool {
        guard form == .logits else { return false }
        b.kernels.bce_logits_both(x, y, w, positiveWeight(c), factor, value, out, b.padded)
        return true
    }
}
