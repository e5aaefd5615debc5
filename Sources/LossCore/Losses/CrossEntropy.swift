import KernelTable

/// Cross-entropy over the classes of each position, from logits.
///
///     ℓ = −Σ_c t_c·log softmax(x)_c,   t_c = w_c·((1−ε)·y_c + ε/C)         dℓ/dx_c = p_c·Σ t − t_c
///     labels          L = Σ ℓ·v·m / Σ w_y·m         (m = 0 where the label is the ignored one)
///     probabilities   L = Σ ℓ·v·m / Σ m
///
/// w are class weights, ε label smoothing, v weights of positions (U-Net's), which do not enter the divisor, m a mask.
/// Nothing to count: 0 with zero gradient. log p comes from the largest logit and the sum of the others, p·Σt − t from p and
/// 1 − p, so that certain predictions keep their digits.
/// Source: `CrossEntropyLoss` of PyTorch, whose convention all of this is; Ronneberger et al. 2015 (U-Net, arXiv
/// 1505.04597), equation 1, for v; Szegedy et al. 2016 (arXiv 1512.00567), section 7, for ε.
public struct CrossEntropyLoss: ItemLoss {
    public struct Options: Sendable {
        public var smoothing: Double
        public var reduction: Classes.Reduction
        public var ignored: Int?
        /// A factor for each class.
        public var weights: [Double]?

        public init(smoothing: Double, reduction: Classes.Reduction, ignored: Int?, weights: [Double]?) {
            (self.smoothing, self.reduction, self.ignored, self.weights) = (smoothing, reduction, ignored, weights)
        }
    }

    let options: Options
    let planes: Planes
    let pred, target: Tensor
    let weight, mask: Tensor?
    let execution: Execution
    /// What labels and mask alone say, Σ m and Σ w_y·m; 0 before they are looked at.
    private var counted = (count: 0.0, divisor: 0.0)
    private let spread: [Double]

    public init(
        _ options: Options, pred: Tensor, target: Tensor, weight: Tensor?, mask: Tensor?, _ execution: Execution
    ) throws(LossError) {
        guard options.smoothing >= 0, options.smoothing <= 1 else {
            throw LossError(.option, "label_smoothing: expected a number from 0 to 1, got \(options.smoothing)")
        }
        (self.options, self.pred, self.target, self.weight, self.mask) = (options, pred, target, weight, mask)
        self.execution = execution
        var classes = Classes()
        classes.activation = .softmax
        classes.weights = options.weights
        // Probabilities are not labels: upstream ignores nothing there.
        classes.ignored = target.shape == pred.shape && target.type.isFloating ? nil : options.ignored
        planes = try Planes(
            pred, target: target, mask: mask, weight: weight, classes, targetForm: .classLabels)
        spread = Self.spread(options.smoothing, planes.channels, options.weights)
    }

    public struct Parts: Sendable {
        public var loss: Double
        /// Σ m: positions that counted.
        public var count: Double
        /// What the sum is divided by.
        public var divisor: Double
        fileprivate var factor: Double
    }

    // MARK: Statistics

    /// Σ ℓ·v·m, Σ w_y·m (Σ m for probabilities), Σ m.
    public static var sums: Int { 3 }

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [target, weight, mask].compactMap { $0 } }
    public var statisticsCount: Int { Self.sums }

    private var hasLabels: Bool { planes.hasLabels }

    // Temporaries after those of the planes, for labels: v·m of positions, the same for the label's class, ℓ, and scratch of
    // classes + 2. Else: the largest logit and the log of the rest, or the largest t and the sum of the others; ℓ; t of one
    // class; p and 1−p by class; t by class, which are scratch of the softmax first.
    private var counts: Int { Planes.temporaries }
    private var ownCounts: Int { counts + 1 }
    private var largest: Int { counts }
    private var rest: Int { counts + 1 }
    private var others: Int { rest }
    private var l: Int { counts + 2 }
    private var tile: Int { counts + 3 }
    private var classTarget: Int { counts + 3 }
    private var p: Int { counts + 4 }
    private var q: Int { p + planes.count }
    private var t: Int { q + planes.count }

    public var plan: Plan {
        guard hasLabels else {
            return Plan(sweep: sweep(planes.operands, sums: 2, temporaries: t + planes.count + 2))
        }
        var operands = planes.operands
        for i in operands.indices {
            // `prepared` has looked at the labels.
            operands[i].labels = nil
            // Positions that do not count do not, whatever they hold; they are hidden where that would be refused.
            if execution.nonFinite != .refuse { operands[i].ignored = nil }
        }
        return Plan(sweep: sweep(operands, sums: 1, temporaries: tile + planes.count + 2))
    }

    private func sweep(_ operands: [Operand], sums: Int, temporaries: Int) -> Sweep {
        Sweep(
            execution, inputs: operands, like: planes.like, groups: planes.groups, sums: sums, temporaries: temporaries)
    }

    /// Refuses labels that are no classes, and counts: with the divisor, one pass gives value and gradient.
    public func prepared() throws(LossError) -> Self? {
        guard hasLabels else { return nil }
        var inputs = Array(planes.operands[planes.count..<(planes.count + (mask == nil ? 1 : 2))])
        inputs[0].mask = mask == nil ? nil : 1
        var sweep = sweep(inputs, sums: 2, temporaries: counts + 1)
        sweep.checksValues = true
        let sums = try sweep.run { b in
            count(b, labels: b.input(0), mask: mask.map { _ in b.input(1) }, weight: nil)
            b.kernels.sum(b.temporary(counts), b.padded, b.sums(0))
            if options.weights != nil {
                weigh(b.temporary(counts), b, labels: b.input(0))
                b.kernels.sum(b.temporary(counts), b.padded, b.sums(1))
            }
        }.sums
        var loss = self
        if !sums.isEmpty { loss.counted = (sums[0], options.weights == nil ? sums[0] : sums[1]) }
        return loss
    }

    /// v·m of each position into its temporary: 0 past the end, and where the label is the ignored one.
    private func count(
        _ b: Block, labels: UnsafeRawPointer, mask: UnsafeRawPointer?, weight: UnsafeRawPointer?
    ) {
        let counts = b.temporary(counts)
        b.kernels.ones(b.count, counts, b.padded)
        if let mask { b.kernels.scale(mask, 1, counts, b.padded) }
        if let weight { b.kernels.product(counts, weight, counts, b.padded) }
        if let ignored = options.ignored { b.kernels.not_ignored(labels, Double(ignored), counts, counts, b.padded) }
    }

    /// Times the label's class weight.
    private func weigh(_ counts: UnsafeMutableRawPointer, _ b: Block, labels: UnsafeRawPointer) {
        guard let weights = options.weights else { return }
        weights.withUnsafeBufferPointer {
            guard let weights = $0.baseAddress else { return }
            b.kernels.label_weights(labels, weights, planes.count, counts, counts, b.padded)
        }
    }

    /// With labels: ℓ·v·m of each position, and its gradient times a factor, and times `upstream`.
    private func labelled(
        _ b: Block, to l: UnsafeMutableRawPointer, times factor: Double, upstream: UnsafeRawPointer? = nil,
        _ gradients: UnsafePointer<UnsafeMutableRawPointer>? = nil
    ) {
        let (x, labels, n) = (b.inputs(from: 0), b.input(planes.count), b.padded)
        let (counts, ownCounts, tile) = (b.temporary(counts), b.temporary(ownCounts), b.temporary(tile))
        let weightAt = planes.count + (mask == nil ? 1 : 2)
        count(
            b, labels: labels, mask: mask.map { _ in b.input(planes.count + 1) },
            weight: weight.map { _ in b.input(weightAt) })
        if let upstream { b.kernels.product(counts, upstream, counts, n) }
        b.kernels.scale(counts, 1 - options.smoothing, ownCounts, n)
        weigh(ownCounts, b, labels: labels)
        if options.smoothing == 0 {
            b.kernels.cross_entropy_labels(x, planes.count, labels, ownCounts, factor, tile, l, gradients, n)
        } else {
            spread.withUnsafeBufferPointer {
                guard let spread = $0.baseAddress else { return }
                b.kernels.cross_entropy_smoothed(
                    x, planes.count, labels, ownCounts, counts, spread, factor, tile, l, gradients, n)
            }
        }
    }

    /// What smoothing adds to t of each class; behind that the sum of the others' for each, and of all.
    private static func spread(_ smoothing: Double, _ classes: Int, _ weights: [Double]?) -> [Double] {
        guard smoothing != 0 else { return [] }
        let shares = (0..<classes).map { (weights?[$0] ?? 1) * smoothing / Double(classes) }
        var others = [Double](repeating: 0, count: classes)
        // From both sides: a sum less one class's share would lose what is small beside that.
        var (before, after) = (0.0, 0.0)
        for c in 0..<classes {
            others[c] += before
            before += shares[c]
            others[classes - 1 - c] += after
            after += shares[classes - 1 - c]
        }
        return shares + others + [before]
    }

    /// t of class c, times the weight of positions.
    private func makeTarget(_ b: Block, _ c: Int, to out: UnsafeMutableRawPointer) {
        let v = planes.plane(c, of: b)
        let weight = planes.sumWeight(c)
        b.kernels.masked_affine(
            v.y, v.w, weight * (1 - options.smoothing), weight * options.smoothing / Double(planes.count), out, b.padded
        )
    }

    public func accumulate(_ b: Block) {
        if hasLabels {
            labelled(b, to: b.temporary(l), times: 0)
        } else {
            addTerms(b)
            planes.countElements(b, planes.plane(0, of: b).m, into: 1)
        }
        b.kernels.sum(b.temporary(l), b.padded, b.sums(0))
    }

    public func accumulate(_ b: Block, writing parts: Parts, times factor: Double) {
        labelled(b, to: b.temporary(l), times: factor * parts.factor, b.outputs(from: 0))
        b.kernels.sum(b.temporary(l), b.padded, b.sums(0))
    }

    /// With probabilities: ℓ of each position into its temporary.
    private func addTerms(_ b: Block) {
        b.kernels.log_sum_exp(
            b.inputs(from: 0), planes.count, b.temporary(t), b.temporary(largest), b.temporary(rest), b.padded)
        b.kernels.clear(b.temporary(l), b.padded)
        for c in 0..<planes.count {
            makeTarget(b, c, to: b.temporary(classTarget))
            b.kernels.cross_entropy_add(
                b.input(c), b.temporary(largest), b.temporary(rest), b.temporary(classTarget), b.temporary(l), b.padded)
        }
    }

    public func collect(_ sums: [Double], groups: Int) -> [Double] {
        guard !sums.isEmpty else { return [0, 0, 0] }
        return hasLabels ? [sums[0], counted.divisor, counted.count] : [sums[0], sums[1], sums[1]]
    }

    // MARK: Value and gradient

    public func parts(_ s: [Double]) -> Parts {
        let divisor = options.reduction == .mean ? s[1] : 1
        let factor = divisor == 0 ? 0 : 1 / divisor
        return Parts(loss: divisor == 0 ? 0 : s[0] / divisor, count: s[2], divisor: divisor, factor: factor)
    }

    /// Known of labels, once they are counted.
    public var partsOfGradient: Parts? { hasLabels ? parts([0, counted.divisor, counted.count]) : nil }

    public func outputs(_ gradients: [Tensor?]) -> [Tensor?] { planes.outputs(gradients[0]) }

    public func gradient(_ b: Block, _ parts: Parts, times factor: Double) {
        gradient(b, times: factor * parts.factor, upstream: nil)
    }

    private func gradient(_ b: Block, times factor: Double, upstream: UnsafeRawPointer?) {
        if hasLabels {
            return labelled(b, to: b.temporary(l), times: factor, upstream: upstream, b.outputs(from: 0))
        }
        b.kernels.softmax(
            b.inputs(from: 0), planes.count, b.temporary(t), b.temporary(p), b.temporary(q), b.pitch, b.padded)
        for c in 0..<planes.count {
            makeTarget(b, c, to: b.temporary(t + c))
            if let upstream { b.kernels.product(b.temporary(t + c), upstream, b.temporary(t + c), b.padded) }
        }
        b.kernels.cross_entropy_targets(
            b.temporary(t), planes.count, b.pitch, b.temporary(largest), b.temporary(others), b.padded)
        for c in 0..<planes.count {
            b.kernels.cross_entropy_gradient(
                b.temporary(p + c), b.temporary(q + c), b.temporary(t + c), b.temporary(largest), b.temporary(others),
                factor, b.output(c), b.padded)
        }
    }

    // MARK: Without the reduction

    /// A map of positions: the prediction's shape without its classes.
    public var itemsShape: Extents { planes.like.shape }
    public var itemsAreElements: Bool { true }

    /// ℓ·v·m of each position, and the gradient of Σ gradOutput·ℓ·v·m.
    public func items(gradOutput: Tensor?, values: Tensor?, gradients: [Tensor?]) throws(LossError) {
        let gradient = gradients[0]
        let planned = try planned(gradients)
        try planned.requireNoOverlap()
        try gradOutput?.requireFloating()
        for map in [gradOutput, values] { try map?.requireShape(itemsShape, "one number a position") }
        let inputs = constants + [pred] + [gradOutput].compactMap { $0 }
        if let values {
            try values.requireFloating()
            try values.requireWritable()
            for other in inputs + [gradient].compactMap({ $0 }) { try values.requireNoOverlap(with: other) }
        }
        if let gradient, let gradOutput { try gradient.requireNoOverlap(with: gradOutput) }

        _ = try prepared()
        var sweep = plan.sweep
        sweep.sums = 0
        sweep.checksValues = true
        if let values {
            sweep.outputs = [values]
            try sweep.run { b in
                if hasLabels { return labelled(b, to: b.output(0), times: 0) }
                addTerms(b)
                b.kernels.scale(b.temporary(l), 1, b.output(0), b.padded)
            }
        }
        guard gradient != nil else { return }
        sweep.outputs = outputs(planned.gradients)
        let upstream = sweep.inputs.count
        // Read where its position is.
        let position = planes.operands[0]
        if let gradOutput {
            sweep.inputs.append(Operand(gradOutput, mask: position.mask, ignored: position.ignored))
        }
        try sweep.run { b in
            self.gradient(b, times: 1, upstream: gradOutput == nil ? nil : b.input(upstream))
        }
    }
}
