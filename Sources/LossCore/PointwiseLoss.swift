import KernelTable

/// A loss ℓ(x, y) of each element by itself.
public protocol PointwiseTerm: Sendable {
    /// Refuse predictions outside [0, 1]; and targets.
    var isProbability: Bool { get }
    var needsProbabilityTargets: Bool { get }
    /// Classes are told apart.
    var isPerClass: Bool { get }
    func require(channels: Int) throws(LossError)
    /// ℓ of a block, and dℓ/dx·c·w (w nil: 1); `scratch` is a temporary. Plane c is that of class c.
    func value(_ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, of c: Int, to out: UnsafeMutableRawPointer)
    func gradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double,
        scratch: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer)
    /// Both at once; true if the term has a kernel for that, which is less work than one after the other.
    func valueAndGradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double, value: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer
    ) -> Bool
    /// The loss as a function of the mean, and its derivative; a loss that is not the mean itself has no map.
    var isOfMean: Bool { get }
    func outer(_ mean: Double) -> (value: Double, slope: Double)
}

extension PointwiseTerm {
    public var isProbability: Bool { false }
    public var needsProbabilityTargets: Bool { false }
    public var isPerClass: Bool { false }
    public var isOfMean: Bool { false }
    public func require(channels: Int) throws(LossError) {}
    public func valueAndGradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double, value: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer
    ) -> Bool { false }
    public func outer(_ mean: Double) -> (value: Double, slope: Double) { (mean, 1) }
}

/// Mean (or sum) of a pointwise loss: Σ ℓ·w·m·(class weight) / Σ m. Weights do not enter the divisor.
public struct PointwiseLoss<Term: PointwiseTerm>: ItemLoss {
    let term: Term
    let planes: Planes
    let pred, target: Tensor
    let weight, mask: Tensor?
    let execution: Execution

    public init(
        _ term: Term, pred: Tensor, target: Tensor, weight: Tensor?, mask: Tensor?, _ classes: Classes,
        allowsLabels: Bool = true, _ execution: Execution
    ) throws(LossError) {
        (self.term, self.pred, self.target, self.weight, self.mask) = (term, pred, target, weight, mask)
        self.execution = execution
        guard classes.activation == .sigmoid, classes.average == .micro, !classes.perSample, classes.absent == .count,
            classes.chosen == nil
        else {
            throw LossError(
                .unsupported,
                "classes: a mean over elements takes reduction, class_weight and ignore_index only")
        }
        guard !term.isOfMean || classes.reduction == .mean else {
            throw LossError(.unsupported, "reduction: this loss is a function of the mean; it has no sum")
        }
        planes = try Planes(
            pred, target: target, mask: mask, weight: weight, classes,
            targetForm: allowsLabels ? .denseOrLabels : .dense, probabilities: term.isProbability,
            targetProbabilities: term.needsProbabilityTargets, perClass: term.isPerClass)
        try term.require(channels: planes.channels)
    }

    public struct Parts: Sendable {
        public var loss: Double
        /// The mean before whatever `outer` makes of it.
        public var mean: Double
        /// Σ m.
        public var count: Double
        fileprivate var factor: Double
    }

    /// Σ ℓ·w·m, Σ m.
    public static var sums: Int { 2 }

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [target, weight, mask].compactMap { $0 } }
    public var statisticsCount: Int { Self.sums }

    private var first: Int { Planes.temporaries }

    public var plan: Plan {
        Plan(
            sweep: Sweep(
                execution, inputs: planes.operands, like: planes.like, groups: planes.groups,
                sums: planes.count * Self.sums, temporaries: first + 2))
    }

    public func accumulate(_ b: Block) {
        for c in 0..<planes.count {
            let v = planes.plane(c, of: b)
            term.value(b, v.x, v.y, of: c, to: b.temporary(first))
            add(b, v, of: c)
        }
    }

    private func add(_ b: Block, _ v: Planes.Plane, of c: Int) {
        b.add(b.temporary(first), weighted: v.w, to: c * Self.sums)
        planes.countElements(b, v.m, into: c * Self.sums + 1)
    }

    public func collect(_ sums: [Double], groups: Int) -> [Double] {
        planes.collect(sums, each: Self.sums, plain: 1)
    }

    public func parts(_ s: [Double]) -> Parts {
        let divisor = planes.classes.reduction == .mean ? s[1] : 1
        guard divisor != 0 else { return Parts(loss: 0, mean: 0, count: s[1], factor: 0) }
        let mean = s[0] / divisor
        let outer = term.outer(mean)
        return Parts(loss: outer.value, mean: mean, count: s[1], factor: outer.slope / divisor)
    }

    /// Without a mask all elements count.
    public var partsOfGradient: Parts? {
        let isMean = planes.classes.reduction == .mean
        guard !term.isOfMean, !isMean || (mask == nil && planes.classes.ignored == nil), pred.count > 0 else {
            return nil
        }
        return Parts(loss: 0, mean: 0, count: 0, factor: 1 / (isMean ? Double(pred.count) : 1))
    }

    public func outputs(_ gradients: [Tensor?]) -> [Tensor?] { planes.outputs(gradients[0]) }

    public func gradient(_ b: Block, _ parts: Parts, times factor: Double) {
        for c in 0..<planes.count {
            let v = planes.plane(c, of: b)
            term.gradient(
                b, v.x, v.y, v.w, of: c, times: factor * parts.factor * planes.sumWeight(c),
                scratch: b.temporary(first), to: b.output(c))
        }
    }

    public func accumulate(_ b: Block, writing parts: Parts, times factor: Double) {
        for c in 0..<planes.count {
            let v = planes.plane(c, of: b)
            let (value, times) = (b.temporary(first), factor * parts.factor * planes.sumWeight(c))
            if !term.valueAndGradient(b, v.x, v.y, v.w, of: c, times: times, value: value, to: b.output(c)) {
                term.value(b, v.x, v.y, of: c, to: value)
                term.gradient(
                    b, v.x, v.y, v.w, of: c, times: times, scratch: b.temporary(first + 1), to: b.output(c))
            }
            add(b, v, of: c)
        }
    }

    // MARK: Without the reduction

    public var itemsShape: Extents { pred.shape }
    public var itemsAreElements: Bool { true }

    /// Each element's ℓ·w·m, and the gradient of Σ gradOutput·ℓ·w·m.
    public func items(gradOutput: Tensor?, values: Tensor?, gradients: [Tensor?]) throws(LossError) {
        let gradient = gradients[0]
        guard !term.isOfMean else {
            throw LossError(.unsupported, "reduction: this loss is a function of the mean; it has no map")
        }
        if let gradOutput {
            try gradOutput.requireFloating()
            try gradOutput.requireShape(of: pred)
        }
        let inputs = constants + [gradOutput].compactMap { $0 }
        if let gradient { try gradient.requireMap(like: pred, apartFrom: inputs, mayReplace: pred) }
        if let values {
            try values.requireMap(like: pred, apartFrom: inputs + [pred])
            if let gradient { try values.requireNoOverlap(with: gradient) }
        }

        var sweep = plan.sweep
        sweep.sums = 0
        sweep.checksValues = true
        if let values {
            sweep.outputs = planes.outputs(values)
            try sweep.run { b in
                for c in 0..<planes.count {
                    let v = planes.plane(c, of: b)
                    term.value(b, v.x, v.y, of: c, to: b.output(c))
                    if let w = v.w { b.kernels.product(b.output(c), w, b.output(c), b.padded) }
                    b.kernels.scale(b.output(c), planes.sumWeight(c), b.output(c), b.padded)
                }
            }
        }
        guard let gradient else { return }
        let upstream = planes.operands.count
        for (operand, factors) in zip(planes.operands, planes.outputs(gradOutput)) {
            // Read where its prediction is.
            if let factors { sweep.inputs.append(Operand(factors, mask: operand.mask, ignored: operand.ignored)) }
        }
        sweep.outputs = planes.outputs(gradient)
        try sweep.run { b in
            for c in 0..<planes.count {
                let v = planes.plane(c, of: b)
                var w = v.w
                if gradOutput != nil {
                    let factors = b.input(upstream + c)
                    if let weight = w { b.kernels.product(weight, factors, b.temporary(first + 1), b.padded) }
                    w = w == nil ? factors : UnsafeRawPointer(b.temporary(first + 1))
                }
                term.gradient(
                    b, v.x, v.y, w, of: c, times: planes.sumWeight(c), scratch: b.temporary(first), to: b.output(c))
            }
        }
    }
}
