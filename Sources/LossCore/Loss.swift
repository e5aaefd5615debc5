import KernelTable

/// A loss with its arguments: statistics → a few scalars → gradient.
///
/// A conforming type says which operands a sweep reads, how a block adds to the sums, what the sums mean and how a
/// block's gradient follows from that. The two phases, the one-call form and the checks of the outputs are here,
/// once for every loss.
public protocol Loss {
    /// Value, parts, and whatever the gradient needs of the sums.
    associatedtype Parts

    /// Differentiable inputs, in the order of the gradients.
    var predictions: [Tensor] { get }
    /// The rest: nothing that a gradient may overlap.
    var constants: [Tensor] { get }
    /// Entries of the statistics array. The first `sums` add up over batches.
    var statisticsCount: Int { get }

    /// This loss with what it has to read before its sweeps, which selects elements within a sum; nil: there is nothing.
    func prepared() throws(LossError) -> Self?
    /// Internal: operands, sums, scratch.
    var plan: Plan { get }
    /// That of the gradient, where it reads more.
    var gradientPlan: Plan { get }
    /// Whether a gradient may take the very place of its prediction: not where others' gradients read that too.
    var worksInPlace: Bool { get }
    func accumulate(_ b: Block)
    /// The statistics that the sums of all groups make: those of the groups added up, if a loss does not say otherwise.
    func collect(_ sums: [Double], groups: Int) -> [Double]
    /// Appends what is not a sum (selections) to the sums of the whole batch.
    func select(_ statistics: inout [Double], _ histograms: Histograms?) throws(LossError)
    func parts(_ statistics: [Double]) throws(LossError) -> Parts
    /// What `gradient` needs of the parts, where that depends on shapes and options alone: then one pass gives value and
    /// gradient.
    var partsOfGradient: Parts? { get }
    /// Both in that pass: adds to the sums and writes the gradients.
    func accumulate(_ b: Block, writing parts: Parts, times factor: Double)
    /// What a block's outputs 0, 1, … are views of: the gradients themselves, if a loss does not say otherwise.
    func outputs(_ gradients: [Tensor?]) -> [Tensor?]
    /// Writes the block's gradients to its outputs, each after the last read of its own prediction.
    func gradient(_ b: Block, _ parts: Parts, times factor: Double)
}

/// The sweep of a loss, which only the core can read.
public struct Plan {
    var sweep: Sweep
}

extension Loss {
    public func prepared() throws(LossError) -> Self? { nil }
    public var gradientPlan: Plan { plan }
    public var worksInPlace: Bool { true }
    public var partsOfGradient: Parts? { nil }

    public func accumulate(_ b: Block, writing parts: Parts, times factor: Double) {
        accumulate(b)
        gradient(b, parts, times: factor)
    }

    public func outputs(_ gradients: [Tensor?]) -> [Tensor?] { gradients }

    public func collect(_ sums: [Double], groups: Int) -> [Double] {
        let count = groups == 0 ? 0 : sums.count / groups
        var total = [Double](repeating: 0, count: groups == 0 ? plan.sweep.sums : count)
        for group in 0..<groups {
            for i in 0..<count { total[i] += sums[group * count + i] }
        }
        return total
    }

    public func select(_ statistics: inout [Double], _ histograms: Histograms?) throws(LossError) {}

    /// The first phase: an array that depends on the inputs alone.
    public func statistics() throws(LossError) -> [Double] { try planned().statistics() }

    /// The second phase: value, parts, and the gradients that are wanted, times an upstream factor.
    public func finish(
        _ statistics: [Double], gradOutput: Double, gradients: [Tensor?]
    ) throws(LossError) -> Parts {
        try requireStatistics(count: statistics.count)
        return try planned(gradients).finish(statistics, gradOutput: gradOutput)
    }

    /// Both phases.
    public func callAsFunction(gradOutput: Double, gradients: [Tensor?]) throws(LossError) -> Parts {
        try planned(gradients).evaluate(gradOutput: gradOutput).parts
    }

    /// With the gradients that are wanted, ready to be run, and again on other memory.
    public func planned(_ gradients: [Tensor?] = []) throws(LossError) -> PlannedLoss<Self> {
        try PlannedLoss(self, checked(gradients))
    }

    /// Passes over the inputs that value and gradient take together.
    public var passes: Int { takesOnePass(plan.sweep) ? 1 : 2 }

    /// A call that is refused for a value leaves the gradients as they were: then the values come first.
    fileprivate func takesOnePass(_ sweep: Sweep) -> Bool { partsOfGradient != nil && !sweep.refusesValues }

    public func requireStatistics(count: Int) throws(LossError) {
        guard count == statisticsCount else {
            throw LossError(.statistics, "statistics: expected \(statisticsCount) entries, got \(count)")
        }
    }

    /// What every loss asks: predictions of one floating type, and everything in one shape.
    func requireArguments() throws(LossError) {
        let predictions = predictions
        let first = predictions[0]
        try first.requireFloating()
        for tensor in constants { try tensor.requireShape(of: first) }
        for tensor in predictions {
            try tensor.requireShape(of: first)
            try tensor.requireType(of: first)
        }
    }

    /// The gradients in the shape of their predictions, a unit channel dropped as theirs was.
    func checked(_ gradients: [Tensor?]) throws(LossError) -> [Tensor?] {
        guard gradients.contains(where: { $0 != nil }) else { return gradients }
        var checked: [Tensor?] = []
        let predictions = predictions
        for (i, gradient) in gradients.enumerated() {
            guard var gradient else {
                checked.append(nil)
                continue
            }
            guard i < predictions.count else {
                throw LossError(.unsupported, "\(gradient.name): its prediction is not given")
            }
            if predictions[i].shape.rank == 3 { gradient = gradient.droppingUnitChannel() }
            try gradient.requireOutput(like: predictions[i])
            checked.append(gradient)
        }
        return checked
    }
}

/// A loss, the gradients that are wanted, and its sweeps: what a call makes of shapes and options before it looks at memory.
public struct PlannedLoss<L: Loss> {
    private let loss: L
    private let predictions: [Tensor]
    private let constants: [Tensor]
    let gradients: [Tensor?]
    /// Of the statistics.
    private let sweep: Sweep
    private let gradientSweep: Sweep?
    /// Of both in one pass, where that can be.
    private let bothSweep: Sweep?

    fileprivate init(_ loss: L, _ gradients: [Tensor?]) {
        self.loss = loss
        (predictions, constants) = (loss.predictions, loss.constants)
        self.gradients = gradients
        var sweep = loss.plan.sweep
        sweep.checksValues = true
        self.sweep = sweep
        guard gradients.contains(where: { $0 != nil }) else {
            (gradientSweep, bothSweep) = (nil, nil)
            return
        }
        let outputs = loss.outputs(gradients)
        var writing = loss.gradientPlan.sweep
        writing.sums = 0
        writing.histograms = 0
        writing.outputs = outputs
        gradientSweep = writing
        sweep.outputs = outputs
        bothSweep = loss.takesOnePass(sweep) ? sweep : nil
    }

    public func statistics() throws(LossError) -> [Double] { try statistics(loss.prepared() ?? loss) }

    public func finish(_ statistics: [Double], gradOutput: Double) throws(LossError) -> L.Parts {
        try requireNoOverlap()
        let parts = try loss.parts(statistics)
        try writeGradients(parts, gradOutput)
        return parts
    }

    public func evaluate(gradOutput: Double) throws(LossError) -> (statistics: [Double], parts: L.Parts) {
        try requireNoOverlap()
        return try evaluate(loss.prepared() ?? loss, gradOutput)
    }

    /// The gradients of parts that somebody has made.
    func writeGradients(_ parts: L.Parts, _ gradOutput: Double) throws(LossError) {
        guard gradientSweep != nil else { return }
        try write(loss.prepared() ?? loss, parts, gradOutput)
    }

    private func statistics(_ loss: L) throws(LossError) -> [Double] { try swept(sweep, loss) { loss.accumulate($0) } }

    private func evaluate(
        _ loss: L, _ gradOutput: Double
    ) throws(LossError) -> (statistics: [Double], parts: L.Parts) {
        if let bothSweep, let known = loss.partsOfGradient {
            let statistics = try swept(bothSweep, loss) { loss.accumulate($0, writing: known, times: gradOutput) }
            return (statistics, try loss.parts(statistics))
        }
        let statistics = try statistics(loss)
        let parts = try loss.parts(statistics)
        try write(loss, parts, gradOutput)
        return (statistics, parts)
    }

    private func write(_ loss: L, _ parts: L.Parts, _ gradOutput: Double) throws(LossError) {
        try gradientSweep?.run { loss.gradient($0, parts, times: gradOutput) }
    }

    private func swept(_ sweep: Sweep, _ loss: L, _ body: (Block) -> Void) throws(LossError) -> [Double] {
        let result = try sweep.run(body)
        defer { result.histograms?.free() }
        var statistics = loss.collect(result.sums, groups: sweep.groups)
        try loss.select(&statistics, result.histograms)
        return statistics
    }

    /// Gradients apart from each other and from all inputs, but for the very place of their own prediction.
    func requireNoOverlap() throws(LossError) {
        for i in 0..<gradients.count {
            guard let gradient = gradients[i] else { continue }
            for j in 0..<predictions.count
            where i != j || !loss.worksInPlace || !gradient.isSameView(as: predictions[j]) {
                try gradient.requireNoOverlap(with: predictions[j])
            }
            for input in constants { try gradient.requireNoOverlap(with: input) }
            for j in 0..<i {
                if let other = gradients[j] { try gradient.requireNoOverlap(with: other) }
            }
        }
    }
}

extension Tensor {
    func requireOutput(like prediction: Tensor) throws(LossError) {
        try requireShape(of: prediction)
        try requireType(of: prediction)
        try requireWritable()
    }

    /// The gradient of an array whose channels are several predictions.
    public func requireGradient(of array: Tensor) throws(LossError) { try requireOutput(like: array) }

    func requireWritable() throws(LossError) {
        guard !overlapsItself else {
            throw LossError(
                .overlap, "\(name): strides \(strides.text) put several elements in one place, it cannot be written")
        }
    }

    /// An output map, which leaves the inputs alone, and the prediction but for taking its very place.
    func requireMap(
        like prediction: Tensor, apartFrom inputs: [Tensor], mayReplace replaced: Tensor? = nil
    ) throws(LossError) {
        try requireOutput(like: prediction)
        for input in inputs { try requireNoOverlap(with: input) }
        if let replaced, !isSameView(as: replaced) { try requireNoOverlap(with: replaced) }
    }

    func requireNoOverlap(with other: Tensor) throws(LossError) {
        guard !overlaps(other) else {
            throw LossError(.overlap, "\(name): shares memory with \(other.name)")
        }
    }
}

public func requireFinite(_ name: StaticString, _ value: Double) throws(LossError) {
    guard value.isFinite else { throw LossError(.option, "\(name): expected a finite number, got \(value)") }
}
