import KernelTable

/// Dice under a mask, over the whole batch, on probabilities.
///
///     I = Σ p·g·m    U = Σ p·m + Σ g·m + eps    L = 1 − 2I/U    dL/dpᵢ = −2·mᵢ·(gᵢ·U − I)/U²
///
/// Linear denominators, and eps only below. No positives: L = 1 with zero gradient. With weights, m stands for w·m.
/// Source: Liao et al. 2020 (arXiv 1911.08947), code of PaddleOCR's `DiceLoss` and MhLiao/DB's `DiceLoss`, without
/// their `assert loss <= 1`.
public struct MaskDice: Sendable {
    public var eps: Double

    public init(eps: Double) throws(LossError) {
        try requireFinite("eps", eps)
        self.eps = eps
    }

    public struct Parts: Sendable {
        public var loss: Double
        public var intersection: Double
        public var union: Double
    }

    /// Σ p·g·m, Σ p·(1−g)·m, Σ (1−p)·g·m. From these L = (FP + FN + eps)/U keeps its digits near 0.
    static let sums = 3

    func accumulate(_ b: Block, _ p: UnsafeRawPointer, _ g: UnsafeRawPointer, _ m: UnsafeRawPointer, into at: Int) {
        b.kernels.overlap(p, nil, g, m, b.padded, b.sums(at))
    }

    func parts(_ s: ArraySlice<Double>) -> Parts {
        let tp = s[s.startIndex]
        let fp = s[s.startIndex + 1]
        let fn = s[s.startIndex + 2]
        let union = 2 * tp + fp + fn + eps
        return Parts(loss: (fp + fn + eps) / union, intersection: tp, union: union)
    }

    func gradient(
        _ b: Block, _ parts: Parts, _ g: UnsafeRawPointer, _ m: UnsafeRawPointer, times factor: Double,
        to out: UnsafeMutableRawPointer
    ) {
        let i = parts.intersection
        let u = parts.union
        b.kernels.masked_affine(g, m, -2 * factor / u, 2 * factor * i / (u * u), out, b.padded)
    }
}

/// The loss by itself.
public struct MaskDiceLoss: Loss {
    let term: MaskDice
    let pred, gt, mask: Tensor
    let weights: Tensor?
    let execution: Execution

    public init(
        _ term: MaskDice, pred: Tensor, gt: Tensor, mask: Tensor, weights: Tensor?, _ execution: Execution
    ) throws(LossError) {
        (self.term, self.pred, self.gt, self.mask, self.weights) = (term, pred, gt, mask, weights)
        self.execution = execution
        try requireArguments()
    }

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [gt, mask] + (weights.map { [$0] } ?? []) }
    public var statisticsCount: Int { MaskDice.sums }

    public var plan: Plan {
        var operands = [Operand(pred, mask: 2), Operand(gt, mask: 2), Operand(mask)]
        if let weights { operands.append(Operand(weights, mask: 2)) }
        return Plan(sweep: Sweep(execution, inputs: operands, like: pred, sums: MaskDice.sums, temporaries: 1))
    }

    public func accumulate(_ b: Block) {
        term.accumulate(b, b.input(0), b.input(1), weightedMask(b), into: 0)
    }

    public func parts(_ statistics: [Double]) -> MaskDice.Parts { term.parts(statistics[...]) }

    public func gradient(_ b: Block, _ parts: MaskDice.Parts, times factor: Double) {
        term.gradient(b, parts, b.input(1), weightedMask(b), times: factor, to: b.output(0))
    }

    private func weightedMask(_ b: Block) -> UnsafeRawPointer {
        guard weights != nil else { return b.input(2) }
        b.kernels.product(b.input(2), b.input(3), b.temporary(0), b.padded)
        return UnsafeRawPointer(b.temporary(0))
    }
}
