import KernelTable

/// Differentiable Binarization: a balanced loss on the probability map P, L1 on the threshold map T inside its mask,
/// and Dice (or a balanced loss again) on the approximate binary map B.
///
///     L = α·Balance(P, g, m) + β·MaskL1(T, t*, mₜ) + γ·Binary(B, g, m)
///
/// Published is PaddleOCR's (α 5, β 10, γ 1, Dice as main loss); WenmuZhou's has α 1, cross-entropy with hard negatives
/// and weights truncated to bytes; MhLiao's `L1BalanceCELoss` the same with α 5 and an L1 without eps; the paper's takes
/// cross-entropy with hard negatives twice, α = 1 standing before the binary term. P, T and B are independent inputs;
/// with a `step` the binary term reads P and T instead of B, as logits k·(P − T), and sends its gradient there.
///
/// Source: Liao et al. 2020 (arXiv 1911.08947), section 3.5; PaddleOCR `DBLoss`; WenmuZhou/DBNet.pytorch `DBLoss`;
/// MhLiao/DB `L1BalanceCELoss`.
public struct DB: Sendable {
    public enum Binary: Sendable {
        case dice(MaskDice)
        case balance(Balance)
    }

    public var shrink: Balance
    public var threshold: MaskL1
    public var binary: Binary
    public var shrinkWeight: Double
    public var thresholdWeight: Double
    public var binaryWeight: Double
    /// k of the step function that the binary term sees P and T through; nil: it reads B.
    public var step: Double?

    public init(
        shrink: Balance, threshold: MaskL1, binary: Binary, shrinkWeight: Double, thresholdWeight: Double,
        binaryWeight: Double, step: Double?
    ) throws(LossError) {
        var isBinaryMap = false
        if case .balance(let balance) = binary { isBinaryMap = balance.isMap }
        guard !shrink.isMap, !isBinaryMap else {
            throw LossError(
                .unsupported, "balance_loss: without it BCELoss is a map, which cannot be added to the other terms")
        }
        (self.shrink, self.threshold, self.binary) = (shrink, threshold, binary)
        (self.shrinkWeight, self.thresholdWeight, self.binaryWeight) = (shrinkWeight, thresholdWeight, binaryWeight)
        self.step = step
    }

    public struct Parts: Sendable {
        public var loss: Double
        /// Each term times its weight; 0 for a term whose map was not given.
        public var shrink: Double
        public var threshold: Double
        public var binary: Double
        fileprivate let shrinkParts: Balance.Parts
        fileprivate let thresholdParts: MaskL1.Parts?
        fileprivate let diceParts: MaskDice.Parts?
        fileprivate let balanceParts: Balance.Parts?
        /// The terms without their weights.
        public var unweighted: (shrink: Double, threshold: Double, binary: Double) {
            (shrinkParts.loss, thresholdParts?.loss ?? 0, diceParts?.loss ?? balanceParts?.loss ?? 0)
        }
        /// P and K of the shrink term.
        public var positives: Double { shrinkParts.positives }
        public var negatives: Double { shrinkParts.negatives }
        /// Σ of the threshold mask.
        public var thresholdCount: Double { thresholdParts?.count ?? 0 }
    }
}

public struct DBLoss: Loss {
    /// The maps of the other two terms; a head without them trains the probability map alone.
    public struct Maps: Sendable {
        let thresh, binary, thresholdMap, thresholdMask: Tensor

        public init(thresh: Tensor, binary: Tensor, thresholdMap: Tensor, thresholdMask: Tensor) {
            self.thresh = thresh.droppingUnitChannel()
            self.binary = binary.droppingUnitChannel()
            self.thresholdMap = thresholdMap.droppingUnitChannel()
            self.thresholdMask = thresholdMask.droppingUnitChannel()
        }
    }

    let term: DB
    let prob, shrinkMap, shrinkMask: Tensor
    let maps: Maps?
    let execution: Execution
    private var thresholds: [Double?] = []

    /// All maps N×H×W or N×1×H×W.
    public init(
        _ term: DB, prob: Tensor, shrinkMap: Tensor, shrinkMask: Tensor, maps: Maps?, _ execution: Execution
    ) throws(LossError) {
        self.term = term
        self.prob = prob.droppingUnitChannel()
        self.shrinkMap = shrinkMap.droppingUnitChannel()
        self.shrinkMask = shrinkMask.droppingUnitChannel()
        self.maps = maps
        self.execution = execution
        try self.prob.requireRank(3, "N x H x W")
        try requireArguments()
    }

    public func prepared() throws(LossError) -> DBLoss? {
        var loss = self
        loss.thresholds = try term.shrink.thresholds(plan.sweep, shrinkValues)
        return loss
    }

    public var predictions: [Tensor] { [prob] + (maps.map { [$0.thresh, $0.binary] } ?? []) }
    public var constants: [Tensor] {
        [shrinkMap, shrinkMask] + (maps.map { [$0.thresholdMap, $0.thresholdMask] } ?? [])
    }

    // Operands: 0 P, 1 g, 2 m, 3 T, 4 t*, 5 its mask, 6 B; with a step 6 and 7 are P and T under the shrink mask.

    public var plan: Plan {
        let p = Operand(prob, mask: 2, isProbability: term.shrink.isProbability)
        var targetsAreProbabilities = term.shrink.needsProbabilityTargets
        if maps != nil, case .balance(let balance) = term.binary {
            targetsAreProbabilities = targetsAreProbabilities || balance.needsProbabilityTargets
        }
        var operands = [p, Operand(shrinkMap, mask: 2, isProbability: targetsAreProbabilities), Operand(shrinkMask)]
        if let maps {
            operands += [
                Operand(maps.thresh, mask: 5), Operand(maps.thresholdMap, mask: 5), Operand(maps.thresholdMask),
            ]
            if term.step != nil {
                operands += [Operand(prob, mask: 2), Operand(maps.thresh, mask: 2)]
            } else {
                var isProbability = false
                if case .balance(let balance) = term.binary { isProbability = balance.isProbability }
                operands.append(Operand(maps.binary, mask: 2, isProbability: isProbability))
            }
        }
        return Plan(
            sweep: Sweep(
                execution, inputs: operands, like: prob, groups: term.shrink.isPerImage ? prob.shape[0] : 1,
                sums: sums, temporaries: 2 * Balance.temporaries + 1,
                histograms: term.shrink.histograms + binaryHistograms))
    }

    private var binaryHistograms: Int {
        guard maps != nil, case .balance(let balance) = term.binary else { return 0 }
        return balance.histograms
    }

    private var binarySums: Int {
        switch term.binary {
        case .dice: MaskDice.sums
        case .balance: Balance.sums
        }
    }
    private var binaryAt: Int { Balance.sums + MaskL1.sums }
    private var sums: Int { maps == nil ? Balance.sums : binaryAt + binarySums }
    public var statisticsCount: Int {
        guard maps != nil, case .balance = term.binary else { return sums + Balance.selectionEntries }
        return sums + 2 * Balance.selectionEntries
    }

    private func shrinkValues(_ b: Block) -> Balance.Values {
        Balance.Values(p: b.input(0), g: b.input(1), m: b.input(2), scratch: 0, thresholds: thresholds)
    }

    /// B, or the logits that stand for it.
    private func binaryValues(_ b: Block) -> Balance.Values {
        var binary = b.input(6)
        if let k = term.step {
            let u = b.temporary(2 * Balance.temporaries)
            b.kernels.scaled_difference(b.input(6), b.input(7), k, u, b.padded)
            binary = UnsafeRawPointer(u)
        }
        return Balance.Values(
            p: binary, g: b.input(1), m: b.input(2), scratch: Balance.temporaries, thresholds: thresholds)
    }

    public func accumulate(_ b: Block) {
        term.shrink.accumulate(b, shrinkValues(b), into: 0, histogram: 0)
        guard maps != nil else { return }
        term.threshold.accumulate(b, b.input(3), b.input(4), b.input(5), into: Balance.sums)
        switch term.binary {
        case .dice(let dice): dice.accumulate(b, b.input(6), b.input(1), b.input(2), into: binaryAt)
        case .balance(let balance):
            balance.accumulate(b, binaryValues(b), into: binaryAt, histogram: term.shrink.histograms)
        }
    }

    public func select(_ statistics: inout [Double], _ histograms: Histograms?) throws(LossError) {
        let shrink = try term.shrink.select(&statistics, at: 0, plan.sweep, counted: histograms, shrinkValues)
        statistics += shrink.entries
        if maps != nil, case .balance(let balance) = term.binary {
            let binary = try balance.select(
                &statistics, at: binaryAt, plan.sweep, counted: histograms?.dropFirst(term.shrink.histograms),
                binaryValues)
            statistics += binary.entries
        }
    }

    public func parts(_ statistics: [Double]) throws(LossError) -> DB.Parts {
        let shrink = try term.shrink.parts(statistics[..<Balance.sums], statistics[sums...])
        guard maps != nil else {
            // Without the other maps upstream drops the weight as well.
            return DB.Parts(
                loss: shrink.loss, shrink: shrink.loss, threshold: 0, binary: 0, shrinkParts: shrink,
                thresholdParts: nil, diceParts: nil, balanceParts: nil)
        }
        let threshold = term.threshold.parts(statistics[Balance.sums..<binaryAt])
        var dice: MaskDice.Parts?
        var balance: Balance.Parts?
        switch term.binary {
        case .dice(let term): dice = term.parts(statistics[binaryAt..<sums])
        case .balance(let term):
            balance = try term.parts(
                statistics[binaryAt..<sums], statistics[(sums + Balance.selectionEntries)...])
        }
        let terms = (
            term.shrinkWeight * shrink.loss, term.thresholdWeight * threshold.loss,
            term.binaryWeight * (dice?.loss ?? balance?.loss ?? 0)
        )
        return DB.Parts(
            loss: terms.0 + terms.1 + terms.2, shrink: terms.0, threshold: terms.1, binary: terms.2,
            shrinkParts: shrink, thresholdParts: threshold, diceParts: dice, balanceParts: balance)
    }

    public func gradient(_ b: Block, _ parts: DB.Parts, times factor: Double) {
        let gradProb = b.output(0)
        guard let threshold = parts.thresholdParts else {
            return term.shrink.gradient(b, parts.shrinkParts, shrinkValues(b), times: factor, to: gradProb)
        }
        let gradThresh = b.output(1)
        let gradBinary = b.output(2)
        // A gradient may stand in its prediction's place, so the step's, which reads two maps, comes first.
        let gradStep = b.temporary(2 * Balance.temporaries)
        switch term.binary {
        case .dice(let dice):
            if let parts = parts.diceParts {
                dice.gradient(b, parts, b.input(1), b.input(2), times: factor * term.binaryWeight, to: gradBinary)
            }
        case .balance(let balance):
            if let parts = parts.balanceParts {
                balance.gradient(
                    b, parts, binaryValues(b), times: factor * term.binaryWeight,
                    to: term.step == nil ? gradBinary : gradStep)
            }
        }
        term.shrink.gradient(
            b, parts.shrinkParts, shrinkValues(b), times: factor * term.shrinkWeight, to: gradProb)
        term.threshold.gradient(
            b, threshold, b.input(3), b.input(4), b.input(5), times: factor * term.thresholdWeight, to: gradThresh)
        if let k = term.step {
            b.kernels.add_scaled(gradStep, k, gradProb, b.padded)
            b.kernels.add_scaled(gradStep, -k, gradThresh, b.padded)
            b.kernels.scale(gradStep, 0, gradBinary, b.padded)
        }
    }
}
