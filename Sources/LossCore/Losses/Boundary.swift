import KernelTable

/// F1 score of the boundaries of prediction and truth, class by class (BF1).
///
///     v = 1 − p    b = max_θ₀ v − v    b⁺ = max_θ b          (of each class; g, g⁺ the same of the one-hot truth)
///     P = Σ b·g⁺/(Σ b + η)    R = Σ b⁺·g/(Σ g + η)    F = 2PR/(P + R + η)    L = mean of 1 − F,  η = 1e-7
///
/// max_θ is the largest of the θ×θ window around a pixel, inside the image; b and g are inner boundaries, b⁺ and g⁺ what is
/// near them. A class without a boundary, in the truth or at all, costs 1 with zero gradient (`present`: is left out).
/// Each maximum's gradient goes to the first of the largest in row-major order. Ignored pixels are as if outside the image.
///
/// Source: Bokhovkin and Burnaev 2019 (arXiv 1905.07852), section 3; the convention is that of yiskw713's
/// boundary_loss_for_remote_sensing.
public struct Boundary: Sendable {
    public enum Variant: Int32, Sendable {
        case published = 0
        /// The mean is over classes that have a boundary in the truth.
        case present = 1
    }

    public var variant: Variant
    public var theta0: Int
    public var theta: Int
    /// The prediction is probabilities: no softmax.
    public var fromProbabilities: Bool
    public var ignored: Int?

    public init(
        variant: Variant, theta0: Int, theta: Int, fromProbabilities: Bool, ignored: Int?
    ) throws(LossError) {
        try Self.requireWindow("theta0", theta0)
        try Self.requireWindow("theta", theta)
        if let ignored { try Classes.requireIgnored(ignored) }
        (self.variant, self.theta0, self.theta) = (variant, theta0, theta)
        (self.fromProbabilities, self.ignored) = (fromProbabilities, ignored)
    }

    private static func requireWindow(_ name: StaticString, _ size: Int) throws(LossError) {
        guard size >= 1, size % 2 == 1 else {
            throw LossError(.option, "\(name): expected an odd number of at least 1, got \(size)")
        }
    }

    static let eta = 1e-7

    /// What is near the truth and what is not, of a class of an image: Σ b·g⁺, Σ b·(1−g⁺), Σ b⁺·g, Σ (1−b⁺)·g.
    static let sums = 4

    struct Score {
        var value: Double
        /// dL/db where g⁺ is 1, where it is 0, and of each pixel of g whose b⁺ comes from there.
        var near, far, routed: Double
    }

    /// 1 − F and its derivatives, from sums that are small where prediction and truth agree.
    static func score(_ s: ArraySlice<Double>) -> Score {
        let i = s.startIndex
        let edges = s[i] + s[i + 1] + eta
        let truth = s[i + 2] + s[i + 3] + eta
        let (p, notP) = (s[i] / edges, (s[i + 1] + eta) / edges)
        let (r, notR) = (s[i + 2] / truth, (s[i + 3] + eta) / truth)
        let z = p + r + eta
        let byP = -2 * r * (r + eta) / (z * z)
        let byR = -2 * p * (p + eta) / (z * z)
        return Score(
            value: (p * notR + r * notP + eta) / z, near: byP * notP / edges, far: -byP * p / edges,
            routed: byR / truth)
    }
}

/// The loss by itself.
public struct BoundaryLoss: ItemLoss {
    let options: Boundary
    let pred, labels: Tensor
    /// The labels in the prediction's height and width.
    private let truth: Tensor
    let execution: Execution
    let classes: Int
    let rows: Rows
    /// The windows of boundaries, and of what is near them.
    let inner, outer: Windows

    public init(_ options: Boundary, pred: Tensor, labels: Tensor, _ execution: Execution) throws(LossError) {
        (self.options, self.pred, self.labels, self.execution) = (options, pred, labels, execution)
        try pred.requireFloating()
        try pred.requireRank(4, "N x C x H x W")
        classes = pred.shape[1]
        // Views of a class are operands: more of them than this are no segmentation.
        guard classes >= 1, classes <= 1 << 16 else {
            throw LossError(.shape, "\(pred.name): expected 1 to 65536 classes, got shape \(pred.shape.text)")
        }
        let (height, width) = (pred.shape[2], pred.shape[3])
        truth = try labels.labels(of: pred)
        inner = Windows(options.theta0, height: height, width: width)
        // What goes back there comes from the truth's boundaries.
        outer = Windows(options.theta, height: height, width: width, isSparse: true)
        // The rows around a strip are computed again; taller strips than this leave the cache.
        rows = Rows(height: height, width: width, least: 8 * (inner.column + outer.column))
    }

    public struct Parts: ItemParts {
        public var loss: Double
        /// Scores that were averaged.
        public var count: Double
        /// 1 − F of each image and class; 0 where it is left out.
        public var items: [Double]
        public var factors: [Double]
        fileprivate var scores: [Boundary.Score]
    }

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [labels] }
    public var worksInPlace: Bool { false }
    public var itemsShape: Extents { Extents([pred.shape[0], classes]) }
    /// The sums of each image's classes, and how many batches they are of.
    public var statisticsCount: Int { pred.shape[0] * classes * Boundary.sums + 1 }

    // MARK: Reading

    /// The sums of a row need what is this far around it, its gradient twice as much.
    private var halo: Int { inner.column + outer.column }

    public var plan: Plan { plan(halo: halo, sums: classes * Boundary.sums) }
    public var gradientPlan: Plan { plan(halo: 2 * halo, sums: 0) }

    /// From the row that is made last to the first of those that one of the two ways back reads.
    func ring(_ rows: Int) -> Ring {
        Ring(least: 1 + inner.column + 2 * outer.column + max(2 * inner.column, outer.column), rows: rows)
    }

    private func plan(halo: Int, sums: Int) -> Plan {
        let ignored = options.ignored.map { Ignored(operand: classes, value: Double($0)) }
        var operands = (0..<classes).map {
            Operand(pred.channel($0), ignored: ignored, isProbability: options.fromProbabilities, halo: halo)
        }
        operands.append(Operand(truth, labels: Labels(classes: classes, ignored: options.ignored), halo: halo))
        return Plan(
            sweep: Sweep(
                execution, inputs: operands, like: pred.channel(0), groups: pred.shape[0], rows: rows, sums: sums,
                temporaries: Slot.count + (options.fromProbabilities ? 0 : 3 * classes),
                rings: RingSlot.allCases.count, ringRows: ring(min(rows.strip + 2 * halo, rows.height)).count))
    }

    // MARK: Truth

    /// Marks the classes' boundaries in rows that are `halo` around the strip.
    private func findTruth(_ s: Strip, halo: Int) {
        let made = s.rows(halo + inner.column)
        let up = s.columns(.upRowLargest, made, inner)
        let down = s.columns(.downRowLargest, made, inner, prefix: .otherPrefix)
        var stage = Stage(s.rows(halo), radius: inner.column)
        for l in made {
            s.kernels.boundary_labels(s.label(l), s.ignored, s.width, s.row(.up, l), s.row(.down, l), s.n)
            s.kernels.row_max(
                s.row(.up, l), inner.row, s.row(.line), s.row(.codeLine), s.row(.upRowLargest, l), nil, s.n)
            s.kernels.row_max(
                s.row(.down, l), inner.row, s.row(.line), s.row(.codeLine), s.row(.downRowLargest, l), nil, s.n)
            up.take(l)
            down.take(l)
            while let l = stage.next(after: l, of: made) {
                up.window(l, to: s.row(.largest))
                down.window(l, to: s.row(.otherLargest))
                s.kernels.boundary_classes(
                    s.row(.up, l), s.row(.down, l), s.row(.largest), s.row(.otherLargest), s.row(.classes, l), s.n)
            }
        }
    }

    /// Bits of up to 32 classes: their boundaries, and `halo` around the strip what is near them.
    private func findNear(_ s: Strip, from first: Int, halo: Int) {
        let made = s.rows(halo + outer.column)
        let near = s.columns(.bitsRow, made, outer, kind: .union)
        var stage = Stage(s.rows(halo), radius: outer.column)
        for l in made {
            s.kernels.boundary_bits(s.row(.classes, l), Double(first), s.row(.bits, l), s.n)
            s.kernels.row_or(s.row(.bits, l), outer.row, s.row(.line), s.row(.bitsRow, l), s.n)
            near.take(l)
            while let l = stage.next(after: l, of: made) { near.window(l, to: s.row(.near, l)) }
        }
    }

    /// Runs the body on every class, with its bit.
    private func eachClass(_ s: Strip, near halo: Int, _ body: (Int, Int) -> Void) {
        s.softmax()
        findTruth(s, halo: halo + outer.column)
        for first in stride(from: 0, to: classes, by: 32) {
            findNear(s, from: first, halo: halo)
            for c in first..<min(first + 32, classes) { body(c, c - first) }
        }
    }

    // MARK: Statistics

    public func accumulate(_ b: Block) {
        let s = Strip(self, b, halo: halo)
        eachClass(s, near: 0) { c, bit in
            let made = s.all
            let edges = s.columns(.rowLargest, made, inner)
            let near = s.columns(.edgeRowLargest, s.rows(outer.column), outer, prefix: .otherPrefix)
            var edge = Stage(s.rows(outer.column), radius: inner.column)
            var sum = Stage(s.rows(0), radius: outer.column)
            for l in made {
                s.makeKeys(c, l)
                s.kernels.row_max(
                    s.row(.keys, l), inner.row, s.row(.line), s.row(.codeLine), s.row(.rowLargest, l), nil, s.n)
                edges.take(l)
                while let l = edge.next(after: l, of: made) {
                    edges.window(l, to: s.row(.largest))
                    s.kernels.boundary_edges(s.row(.keys, l), s.row(.largest), s.row(.edges, l), s.n)
                    s.kernels.row_max(
                        s.row(.edges, l), outer.row, s.row(.line), s.row(.codeLine), s.row(.edgeRowLargest, l), nil, s.n
                    )
                    near.take(l)
                    while let l = sum.next(after: l, of: edge.rows) {
                        near.window(l, to: s.row(.largest))
                        s.kernels.boundary_sums(
                            s.row(.edges, l), s.row(.largest), s.row(.bits, l), s.row(.near, l), bit, s.n,
                            b.sums(c * Boundary.sums))
                    }
                }
            }
        }
    }

    /// Those of the images, one after the other: they do not add up.
    public func collect(_ sums: [Double], groups: Int) -> [Double] { sums + [1] }

    // MARK: Value

    public func parts(_ s: [Double]) throws(LossError) -> Parts {
        let items = statisticsCount / Boundary.sums
        guard s[items * Boundary.sums] == 1 else {
            throw LossError(
                .statistics,
                "statistics: those of several batches were added, but the loss is a mean over images: finish each, "
                    + "or join the arrays of a larger batch")
        }
        var parts = Parts(loss: 0, count: 0, items: [], factors: [], scores: [])
        for item in 0..<items {
            let sums = s[item * Boundary.sums..<(item + 1) * Boundary.sums]
            var score = Boundary.score(sums)
            if options.variant == .present, sums[sums.startIndex + 2] + sums[sums.startIndex + 3] == 0 {
                score = Boundary.Score(value: 0, near: 0, far: 0, routed: 0)
            } else {
                parts.count += 1
            }
            parts.loss += score.value
            parts.items.append(score.value)
            parts.scores.append(score)
        }
        let share = parts.count > 0 ? 1 / parts.count : 1
        parts.loss *= share
        parts.factors = [Double](repeating: share, count: items)
        return parts
    }

    // MARK: Gradient

    public func outputs(_ gradients: [Tensor?]) -> [Tensor?] {
        (0..<classes).map { gradients[0]?.channel($0) }
    }

    public func gradient(_ b: Block, _ parts: Parts, times factor: Double) {
        let s = Strip(self, b, halo: 2 * halo)
        eachClass(s, near: inner.column) { c, bit in
            let item = b.group * classes + c
            let score = parts.scores[item]
            let times = factor * parts.factors[item]
            let made = s.all
            let edges = s.columns(
                .rowLargest, made, inner, codes: (prefix: .prefixCodes, plane: .planeCodes))
            var edge = Stage(s.rows(inner.column + 2 * outer.column), radius: inner.column)
            let near = s.columns(
                .edgeRowLargest, edge.rows, outer, prefix: .otherPrefix,
                codes: (prefix: .otherPrefixCodes, plane: .otherPlaneCodes))
            var truth = Stage(s.rows(inner.column + outer.column), radius: outer.column)
            var toEdge = Stage(s.rows(inner.column), radius: outer.column)
            var toKeys = Stage(s.rows(0), radius: inner.column)
            s.start(s.toEdges)
            s.start(s.toKeys)
            for l in made {
                s.makeKeys(c, l)
                s.kernels.row_max(
                    s.row(.keys, l), inner.row, s.row(.line), s.row(.codeLine), s.row(.rowLargest, l),
                    s.row(.rowCodes, l), s.n)
                edges.take(l)
                while let l = edge.next(after: l, of: made) {
                    edges.window(l, to: s.row(.largest), codes: s.row(.columnCodes, l))
                    s.kernels.boundary_edges(s.row(.keys, l), s.row(.largest), s.row(.edges, l), s.n)
                    s.kernels.row_max(
                        s.row(.edges, l), outer.row, s.row(.line), s.row(.codeLine), s.row(.edgeRowLargest, l),
                        s.row(.edgeRowCodes, l), s.n)
                    near.take(l)
                    while let l = truth.next(after: l, of: edge.rows) {
                        near.window(l, to: s.row(.largest), codes: s.row(.edgeColumnCodes, l))
                        s.kernels.boundary_truth(s.row(.bits, l), bit, s.row(.truth, l), s.n)
                        s.take(s.toEdges, l)
                        while let l = toEdge.next(after: l, of: truth.rows) {
                            s.collect(s.toEdges, truth.rows, l, to: .routed)
                            s.kernels.boundary_edge_gradient(
                                s.row(.keys, l), s.row(.routed), s.row(.near, l), bit, s.row(.rowCodes, l),
                                s.row(.columnCodes, l), l, times * score.near, times * score.far, times * score.routed,
                                s.row(.edgeGradient, l), s.n)
                            s.take(s.toKeys, l)
                            while let l = toKeys.next(after: l, of: toEdge.rows) {
                                s.collect(s.toKeys, toEdge.rows, l, to: .routed)
                                s.kernels.scaled_difference(
                                    s.row(.edgeGradient, l), s.row(.routed), 1, s.gradient(c, l), s.n)
                            }
                        }
                    }
                }
            }
        }
        s.softmaxGradient()
    }
}
