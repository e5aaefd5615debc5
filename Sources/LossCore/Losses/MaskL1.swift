import KernelTable

/// Mean absolute difference under a mask.
///
///     L = Σ |p − g|·m / (Σ m + eps)    dL/dpᵢ = mᵢ·sgn(pᵢ − gᵢ)/(Σ m + eps),  sgn 0 = 0
///
/// With eps = 0 an empty mask gives 0 (MhLiao's guard). Source: Liao et al. 2020 (arXiv 1911.08947), the threshold
/// map's term; PaddleOCR's `MaskL1Loss` (eps 1e-6), MhLiao/DB's `MaskL1Loss` (eps 0).
public struct MaskL1: Sendable {
    public var eps: Double

    public init(eps: Double) throws(LossError) {
        try requireFinite("eps", eps)
        self.eps = eps
    }

    public struct Parts: Sendable {
        public var loss: Double
        /// Σ m: how many elements counted.
        public var count: Double
        var divisor: Double
    }

    /// Σ |p−g|·m, Σ m.
    static let sums = 2

    func accumulate(_ b: Block, _ p: UnsafeRawPointer, _ g: UnsafeRawPointer, _ m: UnsafeRawPointer, into at: Int) {
        b.kernels.difference(p, g, m, b.padded, b.sums(at))
    }

    func parts(_ s: ArraySlice<Double>) -> Parts {
        let total = s[s.startIndex]
        let count = s[s.startIndex + 1]
        let isEmpty = count == 0 && eps == 0
        let divisor = isEmpty ? .infinity : count + eps
        return Parts(loss: isEmpty ? 0 : total / divisor, count: count, divisor: divisor)
    }

    func gradient(
        _ b: Block, _ parts: Parts, _ p: UnsafeRawPointer, _ g: UnsafeRawPointer, _ m: UnsafeRawPointer,
        times factor: Double, to out: UnsafeMutableRawPointer
    ) {
        b.kernels.difference_gradient(p, g, m, factor / parts.divisor, out, b.padded)
    }
}

/// The loss by itself.
public struct MaskL1Loss: Loss {
    let term: MaskL1
    let pred, gt, mask: Tensor
    let execution: Execution

    public init(
        _ term: MaskL1, pred: Tensor, gt: Tensor, mask: Tensor, _ execution: Execution
    ) throws(LossError) {
        (self.term, self.pred, self.gt, self.mask, self.execution) = (term, pred, gt, mask, execution)
        try requireArguments()
    }

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [gt, mask] }
    public var statisticsCount: Int { MaskL1.sums }

    public var plan: Plan {
        let operands = [Operand(pred, mask: 2), Operand(gt, mask: 2), Operand(mask)]
        return Plan(sweep: Sweep(execution, inputs: operands, like: pred, sums: MaskL1.sums))
    }

    public func accumulate(_ b: Block) {
        term.accumulate(b, b.input(0), b.input(1), b.input(2), into: 0)
    }

    public func parts(_ statistics: [Double]) -> MaskL1.Parts { term.parts(statistics[...]) }

    public func gradient(_ b: Block, _ parts: MaskL1.Parts, times factor: Double) {
        term.gradient(b, parts, b.input(0), b.input(1), b.input(2), times: factor, to: b.output(0))
    }
}
