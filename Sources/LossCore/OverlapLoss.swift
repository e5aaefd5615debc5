import KernelTable

/// A score of how a prediction p and a target y overlap: a formula over three sums, all small where they agree.
///
///     TP = Σ p·y·m    FP = Σ p·(1−y)·m    FN = Σ (1−p)·y·m
///
/// so that dL/dpᵢ = mᵢ·(yᵢ·(L_TP − L_FP − L_FN) + L_FP). This is all that a new overlap loss has to say.
public protocol OverlapFormula: Sendable {
    /// Adds the mean cross-entropy of the same elements.
    var addsCrossEntropy: Bool { get }
    func score(tp: Double, fp: Double, fn: Double) -> Score
}

extension OverlapFormula {
    public var addsCrossEntropy: Bool { false }
}

/// A value and its derivatives by the three sums.
public struct Score: Sendable {
    public var loss: Double
    public var tp: Double
    public var fp: Double
    public var fn: Double

    public init(loss: Double, tp: Double, fp: Double, fn: Double) {
        (self.loss, self.tp, self.fp, self.fn) = (loss, tp, fp, fn)
    }

    /// wrong/all, given the derivatives of both by TP, FP, FN; 0 with no gradient where there is nothing at all.
    static func ratio(_ wrong: Double, _ dWrong: SIMD3<Double>, over all: Double, _ dAll: SIMD3<Double>) -> Score {
        if wrong == 0, all == 0 { return Score(loss: 0, tp: 0, fp: 0, fn: 0) }
        let loss = wrong / all
        let d = (dWrong - loss * dAll) / all
        return Score(loss: loss, tp: d.x, fp: d.y, fn: d.z)
    }
}

/// What all overlap losses are: the same statistics and gradient around a formula.
public struct OverlapLoss<Formula: OverlapFormula>: ItemLoss {
    let formula: Formula
    let planes: Planes
    let pred, target: Tensor
    let mask: Tensor?
    let execution: Execution

    public init(
        _ formula: Formula, pred: Tensor, target: Tensor, mask: Tensor?, _ classes: Classes, _ execution: Execution
    ) throws(LossError) {
        guard !formula.addsCrossEntropy || classes.activation != .softmax else {
            throw LossError(
                .unsupported,
                "activation: binary cross-entropy goes with sigmoid or none; for softmax add cross_entropy to dice")
        }
        (self.formula, self.pred, self.target, self.mask) = (formula, pred, target, mask)
        self.execution = execution
        planes = try Planes(
            pred, target: target, mask: mask, weight: nil, classes,
            probabilities: formula.addsCrossEntropy && classes.activation == .none,
            targetProbabilities: formula.addsCrossEntropy && classes.activation == .none)
    }

    public struct Parts: ItemParts {
        public var loss: Double
        /// The terms of which it is the sum, reduced as it is; without cross-entropy the second is 0.
        public var overlap: Double
        public var crossEntropy: Double
        /// Items that were averaged.
        public var count: Double
        /// Σ m, where cross-entropy counts it.
        public var elements: Double
        public var items: [Double]
        public var factors: [Double] { didSet { crossEntropyScale = 1 } }
        /// Items of the mean that cross-entropy counts for each that overlap does.
        fileprivate var crossEntropyScale: Double
        /// dL/dp = m·(a·y + b), and c for the cross-entropy of an element.
        fileprivate var coefficients: [(a: Double, b: Double, c: Double)]
    }

    // MARK: Statistics

    /// TP, FP, FN; with cross-entropy also Σ ℓ·m, Σ m.
    public static func sums(_ formula: Formula) -> Int { formula.addsCrossEntropy ? 5 : 3 }
    private var width: Int { Self.sums(formula) }

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [target] + (mask.map { [$0] } ?? []) }
    public var statisticsCount: Int { planes.items * width }
    public var itemsShape: Extents { planes.itemsShape }

    // Temporaries after those of the planes: a block, then p, 1−p and dL/dp of every class, and two that are scratch with those.
    private var first: Int { Planes.temporaries }
    private var p: Int { first + 1 }
    private var q: Int { p + planes.count }
    private var g: Int { q + planes.count }

    public var plan: Plan {
        var sweep = Sweep(
            execution, inputs: planes.operands, like: planes.like, groups: planes.groups, sums: planes.count * width,
            temporaries: activation == .softmax ? g + planes.count + 2 : p)
        sweep.positions = planes.positions
        return Plan(sweep: sweep)
    }

    private var activation: Classes.Activation { planes.classes.activation }

    private func softmax(_ b: Block) {
        b.kernels.softmax(
            b.inputs(from: 0), planes.count, b.temporary(g), b.temporary(p), b.temporary(q), b.pitch, b.padded)
    }

    public func accumulate(_ b: Block) {
        if activation == .softmax { softmax(b) }
        for c in 0..<planes.count {
            let v = planes.plane(c, of: b)
            let at = c * width
            switch activation {
            case .sigmoid where formula.addsCrossEntropy:
                b.kernels.overlap_bce_logits(v.x, v.y, v.m, b.padded, b.sums(at))
            case .sigmoid: b.kernels.overlap_logits(v.x, v.y, v.m, b.padded, b.sums(at))
            case .softmax:
                b.kernels.overlap(b.temporary(p + c), b.temporary(q + c), v.y, v.m, b.padded, b.sums(at))
            case .none:
                b.kernels.overlap(v.x, nil, v.y, v.m, b.padded, b.sums(at))
                if formula.addsCrossEntropy {
                    let l = b.temporary(first)
                    b.kernels.bce_log1p(v.x, v.y, l, b.padded)
                    b.add(l, weighted: v.m, to: at + 3)
                }
            }
            if formula.addsCrossEntropy { planes.countElements(b, v.m, into: at + 4) }
        }
    }

    public func collect(_ sums: [Double], groups: Int) -> [Double] {
        planes.collect(sums, each: width, plain: formula.addsCrossEntropy ? 1 : 0)
    }

    // MARK: Value

    public func parts(_ s: [Double]) -> Parts {
        var parts = Parts(
            loss: 0, overlap: 0, crossEntropy: 0, count: 0, elements: 0, items: [], factors: [],
            crossEntropyScale: 1, coefficients: [])
        for item in 0..<planes.items {
            let at = item * width
            let (tp, fp, fn) = (s[at], s[at + 1], s[at + 2])
            let weight = planes.itemWeight(item)
            let isAbsent = planes.classes.absent != .count && tp + fn == 0
            var score = formula.score(tp: tp, fp: fp, fn: fn)
            if isAbsent { score = Score(loss: 0, tp: 0, fp: 0, fn: 0) }
            parts.count += isAbsent && planes.classes.absent == .skip ? 0 : 1
            parts.overlap += weight * score.loss
            var value = weight * score.loss
            var c = 0.0
            if formula.addsCrossEntropy {
                let elements = s[at + 4]
                c = elements == 0 ? 0 : weight / elements
                parts.crossEntropy += c * s[at + 3]
                parts.elements += elements
                value += c * s[at + 3]
            }
            parts.items.append(value)
            parts.coefficients.append((weight * (score.tp - score.fp - score.fn), weight * score.fp, c))
        }
        // Cross-entropy has no absent items: it is averaged over all of them.
        let isMean = planes.classes.reduction == .mean
        let overlapFactor = isMean && parts.count > 0 ? 1 / parts.count : 1
        let crossEntropyFactor = isMean && planes.items > 0 ? 1 / Double(planes.items) : 1
        parts.overlap *= overlapFactor
        parts.crossEntropy *= crossEntropyFactor
        parts.loss = parts.overlap + parts.crossEntropy
        parts.factors = [Double](repeating: overlapFactor, count: planes.items)
        parts.crossEntropyScale = crossEntropyFactor / overlapFactor
        return parts
    }

    // MARK: Gradient

    public func outputs(_ gradients: [Tensor?]) -> [Tensor?] { planes.outputs(gradients[0]) }

    public func gradient(_ b: Block, _ parts: Parts, times factor: Double) {
        if activation == .softmax { softmax(b) }
        let itemOfPlane = planes.itemOfPlane
        for c in 0..<planes.count {
            let v = planes.plane(c, of: b)
            var k = (a: 0.0, b: 0.0, c: 0.0)
            if itemOfPlane[c] >= 0 {
                let item = b.group * planes.itemsPerGroup + itemOfPlane[c]
                let times = factor * parts.factors[item] * planes.sumWeight(c)
                k = parts.coefficients[item]
                k = (times * k.a, times * k.b, times * parts.crossEntropyScale * k.c)
            }
            switch activation {
            case .sigmoid: b.kernels.overlap_logits_gradient(v.x, v.y, v.m, k.a, k.b, k.c, b.output(c), b.padded)
            case .softmax: b.kernels.masked_affine(v.y, v.m, k.a, k.b, b.temporary(g + c), b.padded)
            case .none:
                guard formula.addsCrossEntropy else {
                    b.kernels.masked_affine(v.y, v.m, k.a, k.b, b.output(c), b.padded)
                    continue
                }
                let sum = b.temporary(first)
                b.kernels.masked_affine(v.y, v.m, k.a, k.b, sum, b.padded)
                b.kernels.bce_gradient(v.x, v.y, v.m, k.c, b.output(c), b.padded)
                b.kernels.add_scaled(sum, 1, b.output(c), b.padded)
            }
        }
        if activation == .softmax {
            b.kernels.softmax_gradient(
                b.temporary(p), b.temporary(q), b.temporary(g), planes.count, b.pitch, b.outputs(from: 0), b.padded)
        }
    }
}
