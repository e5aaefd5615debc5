import KernelTable

/// A main loss over positives and the hardest negatives (PaddleOCR's `BalanceLoss`).
///
///     pos = g·m    neg = (1−g)·m    P = trunc Σ pos    K = trunc min(Σ neg, P·ratio)
///     B = (Σ pos·ℓ + Σ of the K largest neg·ℓ) / (P + K + eps)          (K ≤ 0: Σ pos·ℓ/(P + eps))
///
/// The K largest are taken over the whole batch, ties to the lowest index; which ones they are is a constant of the
/// gradient. With cross-entropy ℓ is a map and this is hard-negative mining. With Dice or L1 ℓ is one number, so
/// that B = ℓ·(P+K)/(P+K+eps) for binary labels: published, and no mining at all. `diceOHEM` is what was meant: Dice
/// under a mask of hard pixels chosen per image (PSENet), and B is that Dice itself.
///
/// Source: Liao et al. 2020 (arXiv 1911.08947), section 3.5; PaddleOCR `BalanceLoss`; MhLiao/DB and WenmuZhou
/// `BalanceCrossEntropyLoss` (`truncatesWeights`); mmocr (`fallbackNegatives`); Wang et al. 2019 (PSENet, arXiv
/// 1806.02559) for the selection of `diceOHEM`.
public struct Balance: Sendable {
    public enum Main: Int32, Sendable {
        case dice = 0
        case bce = 1
        case maskL1 = 2
        case diceOHEM = 3
        /// Listed by PaddleOCR, never callable there: refused.
        case euclidean = 4
        case crossEntropy = 5
    }

    /// What the cross-entropy reads, and how its log(1−p) is taken.
    public enum CrossEntropy: Int32, Sendable {
        /// Probabilities, log(1 − p): PaddlePaddle.
        case log = 0
        /// Probabilities, log1p(−p): PyTorch, which also wants targets in [0, 1].
        case log1p = 1
        /// Logits.
        case logits = 2
    }

    public var main: Main
    public var isBalanced: Bool
    /// Negatives for each positive.
    public var ratio: Double
    public var eps: Double
    public var crossEntropy: CrossEntropy
    /// Weights g·m and (1−g)·m become bytes, as MhLiao's cast has it: a soft label counts as neither.
    public var truncatesWeights: Bool
    /// Negatives to take where there is no positive at all (0 = none, as published).
    public var fallbackNegatives: Int
    /// `diceOHEM` draws its negatives from valid pixels only.
    public var isClean: Bool

    private let dice: MaskDice
    private let l1: MaskL1

    public init(
        main: Main, isBalanced: Bool, ratio: Double, eps: Double, crossEntropy: CrossEntropy, truncatesWeights: Bool,
        fallbackNegatives: Int, isClean: Bool
    ) throws(LossError) {
        guard main != .euclidean, main != .crossEntropy else {
            throw LossError(
                .unsupported,
                "main_loss: Euclidean and CrossEntropyLoss never worked upstream (they take no mask); "
                    + "expected DiceLoss, BCELoss, MaskL1Loss or DiceOHEM")
        }
        try requireFinite("negative_ratio", ratio)
        guard fallbackNegatives >= 0 else {
            throw LossError(.option, "fallback_negative_num: expected at least 0, got \(fallbackNegatives)")
        }
        self.main = main
        self.isBalanced = isBalanced
        self.ratio = ratio
        self.eps = eps
        self.crossEntropy = crossEntropy
        self.truncatesWeights = truncatesWeights
        self.fallbackNegatives = fallbackNegatives
        self.isClean = isClean
        dice = try MaskDice(eps: eps)
        l1 = try MaskL1(eps: eps)
    }

    public struct Parts: Sendable {
        public var loss: Double
        /// The main loss itself (Dice, L1); with cross-entropy NaN, since that is a map.
        public var origin: Double
        /// P and K.
        public var positives: Double
        public var negatives: Double
        fileprivate var dice: MaskDice.Parts?
        fileprivate var l1: MaskL1.Parts?
        fileprivate var selection = Selection.none
        /// The gradient is that of the main loss times this.
        fileprivate var scale = 0.0
    }

    // MARK: Statistics

    /// Elements, Σ pos, Σ neg, blocks whose weights are not just 0 and 1, three sums of the main loss, batches.
    static let sums = 8
    /// Σ of the selected, the K-th value, the last index taken of those that equal it: of one batch, they do not add.
    static let selectionEntries = 3
    /// Positive and negative weights, cross-entropy, their product.
    static let temporaries = 4

    var isProbability: Bool { main == .bce && crossEntropy != .logits }
    var needsProbabilityTargets: Bool { main == .bce && crossEntropy == .log1p }
    var histograms: Int { main == .bce ? 1 : 0 }
    /// Cross-entropy without its balance is no value: no loss takes it.
    var isMap: Bool { main == .bce && !isBalanced }
    /// Whether ℓ is weighed over positives and negatives; `diceOHEM` has chosen them already.
    private var isMined: Bool { isBalanced && !isPerImage }
    /// `diceOHEM` starts its sums anew at every image.
    var isPerImage: Bool { main == .diceOHEM }

    /// What a block's elements are, `scratch` being the first of four temporaries.
    struct Values {
        let p, g, m: UnsafeRawPointer
        let scratch: Int
        /// The K-th hardest score of each image, for `diceOHEM`; nil where an image keeps its whole mask.
        let thresholds: [Double?]
    }

    func accumulate(_ b: Block, _ v: Values, into at: Int, histogram: Int) {
        let positive = b.temporary(v.scratch)
        let negative = b.temporary(v.scratch + 1)
        weights(b, v)
        b.add(Double(b.count), to: at)
        b.kernels.sum2(positive, negative, b.padded, b.sums(at + 1))
        if !b.kernels.is_binary(negative, b.padded) { b.add(1, to: at + 3) }
        switch main {
        case .bce:
            b.count(hardness(b, v), in: histogram)
            b.kernels.dot(positive, b.temporary(v.scratch + 2), b.padded, b.sums(at + 4))
        case .maskL1: l1.accumulate(b, v.p, v.g, v.m, into: at + 4)
        default: dice.accumulate(b, v.p, v.g, ohemMask(b, v), into: at + 4)
        }
    }

    private func weights(_ b: Block, _ v: Values) {
        let make = truncatesWeights ? b.kernels.balance_weights_u8 : b.kernels.balance_weights
        make(v.g, v.m, b.temporary(v.scratch), b.temporary(v.scratch + 1), b.padded)
    }

    func map(_ b: Block, _ p: UnsafeRawPointer, _ g: UnsafeRawPointer, to out: UnsafeMutableRawPointer) {
        switch crossEntropy {
        case .log: b.kernels.bce_log(p, g, out, b.padded)
        case .log1p: b.kernels.bce_log1p(p, g, out, b.padded)
        case .logits: b.kernels.bce_logits(p, g, 1, out, b.padded)
        }
    }

    func mapGradient(_ b: Block, _ p: UnsafeRawPointer, _ g: UnsafeRawPointer, to out: UnsafeMutableRawPointer) {
        crossEntropy == .logits
            ? b.kernels.bce_logits_gradient(p, g, nil, 1, 1, out, b.padded)
            : b.kernels.bce_gradient(p, g, nil, 1, out, b.padded)
    }

    // MARK: Selection

    /// P and K. Not finite if the labels are not.
    private func counts(_ s: ArraySlice<Double>) -> (positives: Double, negatives: Double) {
        let positive = s[s.startIndex + 1]
        let negative = s[s.startIndex + 2]
        let p = positive.rounded(.towardZero)
        // As `min(a, b)` of Python: b only if it is smaller, so that NaN in a stays.
        let wanted = p == 0 && fallbackNegatives > 0 ? Double(fallbackNegatives) : p * ratio
        return (p, (wanted < negative ? wanted : negative).rounded(.towardZero))
    }

    private func mainLoss(_ s: ArraySlice<Double>) -> Double {
        main == .maskL1 ? l1.parts(s[(s.startIndex + 4)...]).loss : dice.parts(s[(s.startIndex + 4)...]).loss
    }

    /// Weights of 0 and 1 need no selection where ℓ is one number, unless that is 0 and every neg·ℓ ties.
    private func needsSelection(_ s: ArraySlice<Double>) -> Bool {
        isMined && counts(s).negatives > 0
            && (main == .bce || s[s.startIndex + 3] > 0 || mainLoss(s) == 0)
    }

    /// Selects among one batch, and sets its count of batches to 1.
    func select(
        _ s: inout [Double], at: Int, _ sweep: Sweep, counted: Histograms?, _ values: (Block) -> Values
    ) throws(LossError) -> Selection {
        s[at + 7] = 1
        let sums = s[at..<at + Self.sums]
        let k = counts(sums).negatives
        guard needsSelection(sums), k.isFinite else { return .none }
        let limit = Int(min(k, Double(sweep.groupSize * sweep.groups)))
        if main == .bce {
            return try sweep.selectLargest(limit, counted: counted) { b in
                let v = values(b)
                weights(b, v)
                return hardness(b, v)
            }
        }
        // v = neg·ℓ: sorts as neg does, the other way round where ℓ < 0, and ties where ℓ = 0.
        let l = mainLoss(sums)
        let sign = l == 0 ? 0 : l < 0 ? -1.0 : 1.0
        func sortable(_ b: Block) -> UnsafeRawPointer {
            let v = values(b)
            weights(b, v)
            b.kernels.scale(b.temporary(v.scratch + 1), sign, b.temporary(v.scratch + 3), b.padded)
            return UnsafeRawPointer(b.temporary(v.scratch + 3))
        }
        var selection = try sweep.selectLargest(limit, sortable)
        // What counts is Σ neg of the selected: the sum of v itself, but for the sign.
        selection.sum *= sign
        if sign == 0 {
            var counting = sweep
            counting.sums = 1
            counting.histograms = 0
            selection.sum = try counting.run { b in
                let key = sortable(b)
                let scratch = values(b).scratch
                let taken = b.temporary(scratch + 2)
                let negative = b.temporary(scratch + 1)
                b.kernels.selected(key, negative, selection.threshold, selection.last(in: b), taken, b.padded)
                b.kernels.sum(taken, b.padded, b.sums(0))
            }.sums.reduce(0, +)
        }
        return selection
    }

    /// neg·ℓ, from weights that stand in the scratch; leaves ℓ in the third temporary.
    private func hardness(_ b: Block, _ v: Values) -> UnsafeRawPointer {
        let l = b.temporary(v.scratch + 2)
        let key = b.temporary(v.scratch + 3)
        map(b, v.p, v.g, to: l)
        b.kernels.product(b.temporary(v.scratch + 1), l, key, b.padded)
        return UnsafeRawPointer(key)
    }

    // MARK: Value

    func parts(_ s: ArraySlice<Double>, _ selection: ArraySlice<Double>) throws(LossError) -> Parts {
        let (p, k) = counts(s)
        var parts = Parts(loss: 0, origin: .nan, positives: p, negatives: max(k, 0))
        switch main {
        case .bce: break
        case .maskL1:
            parts.l1 = l1.parts(s[(s.startIndex + 4)...])
            parts.origin = parts.l1?.loss ?? 0
        default:
            parts.dice = dice.parts(s[(s.startIndex + 4)...])
            parts.origin = parts.dice?.loss ?? 0
        }
        guard isMined else {
            parts.loss = parts.origin
            parts.scale = 1
            return parts
        }

        var selected = 0.0
        let isOneBatch = s[s.startIndex + 7] == 1
        if needsSelection(s), isOneBatch || main == .bce || s[s.startIndex + 3] > 0 {
            guard isOneBatch else {
                throw LossError(
                    .statistics,
                    "statistics: those of several batches were added, but the hardest negatives are chosen among "
                        + "all of a batch (BCELoss, or soft labels): call it with the whole batch")
            }
            let e = selection.startIndex
            parts.selection = Selection(sum: selection[e], threshold: selection[e + 1], last: selection[e + 2])
            selected = parts.selection.sum
        } else if k > 0 {
            // Weights of 0 and 1: ℓ ≥ 0 takes ones, of which there are at least K; ℓ < 0 takes the zeros first.
            let zeros = s[s.startIndex] - s[s.startIndex + 2]
            selected = parts.origin < 0 ? max(0, k - zeros) : k
        }
        let divisor = p + max(k, 0) + eps
        let isDefined = p.isFinite && k.isFinite
        if main == .bce {
            parts.scale = isDefined ? 1 / divisor : .nan
            parts.loss = (s[s.startIndex + 4] + selected) * parts.scale
        } else {
            parts.scale = isDefined ? (s[s.startIndex + 1] + selected) / divisor : .nan
            parts.loss = parts.origin * parts.scale
        }
        return parts
    }

    // MARK: Gradient

    func gradient(_ b: Block, _ parts: Parts, _ v: Values, times factor: Double, to out: UnsafeMutableRawPointer) {
        let factor = factor * parts.scale
        if let l1 = parts.l1 {
            self.l1.gradient(b, l1, v.p, v.g, v.m, times: factor, to: out)
        } else if let dice = parts.dice {
            self.dice.gradient(b, dice, v.g, ohemMask(b, v), times: factor, to: out)
        } else {
            // (pos + neg·[selected])·dℓ/dp·factor
            weights(b, v)
            let key = hardness(b, v)
            let taken = b.temporary(v.scratch + 2)
            let positive = b.temporary(v.scratch)
            b.kernels.selected(
                key, b.temporary(v.scratch + 1), parts.selection.threshold, parts.selection.last(in: b), taken,
                b.padded)
            b.kernels.add_scaled(positive, 1, taken, b.padded)
            mapGradient(b, v.p, v.g, to: positive)
            b.kernels.product(taken, positive, taken, b.padded)
            b.kernels.scale(taken, factor, out, b.padded)
        }
    }

    // MARK: Dice over hard pixels

    /// The K-th highest score among each image's negatives, K = trunc min(ratio·positives, negatives);
    /// nil where positives or K are none: that image keeps its mask.
    func thresholds(_ sweep: Sweep, _ values: (Block) -> Values) throws(LossError) -> [Double?] {
        guard isPerImage, sweep.groupSize > 0 else { return [] }
        var sweep = sweep
        sweep.sums = 2
        sweep.histograms = 0
        func pool(_ b: Block, countingInto sums: UnsafeMutablePointer<Double>) -> UnsafeRawPointer {
            let v = values(b)
            b.kernels.ohem_pool(v.p, v.g, v.m, isClean, b.temporary(v.scratch), b.count, sums)
            return UnsafeRawPointer(b.temporary(v.scratch))
        }
        let counts = try sweep.run { _ = pool($0, countingInto: $0.sums(0)) }.sums
        var thresholds: [Double?] = []
        for image in 0..<sweep.groups {
            let positives = counts[2 * image]
            let negatives = counts[2 * image + 1]
            let wanted = min(ratio * positives, negatives).rounded(.towardZero)
            guard positives > 0, wanted > 0 else {
                thresholds.append(nil)
                continue
            }
            let selection = try sweep.selectLargest(Int(wanted), within: sweep.chunks(of: image)) { b in
                // The counts are known: this time they go nowhere.
                pool(b, countingInto: b.temporary(values(b).scratch + 1).assumingMemoryBound(to: Double.self))
            }
            thresholds.append(selection.threshold)
        }
        return thresholds
    }

    private func ohemMask(_ b: Block, _ v: Values) -> UnsafeRawPointer {
        guard isPerImage, let threshold = v.thresholds[b.group] else { return v.m }
        let mask = b.temporary(v.scratch)
        b.kernels.ohem_mask(v.p, v.g, v.m, threshold, mask, b.padded)
        return UnsafeRawPointer(mask)
    }
}

/// The loss by itself.
public struct BalanceLoss: Loss {
    let term: Balance
    private var pred, gt, mask: Tensor
    let execution: Execution
    private var thresholds: [Double?] = []

    public init(
        _ term: Balance, pred: Tensor, gt: Tensor, mask: Tensor, _ execution: Execution
    ) throws(LossError) {
        self.term = term
        self.execution = execution
        (self.pred, self.gt, self.mask) = (pred, gt, mask)
        try requireArguments()
        guard !term.isMap else {
            throw LossError(
                .unsupported,
                "balance_loss: without it BCELoss is a map, not a value (segloss_balance_map gives the map)")
        }
        guard term.isPerImage else { return }
        self.pred = pred.droppingUnitChannel()
        self.gt = gt.droppingUnitChannel()
        self.mask = mask.droppingUnitChannel()
        try self.pred.requireRank(3, "N x H x W")
    }

    public func prepared() throws(LossError) -> BalanceLoss? {
        var loss = self
        loss.thresholds = try term.thresholds(plan.sweep, values)
        return loss
    }

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [gt, mask] }
    public var statisticsCount: Int { Balance.sums + Balance.selectionEntries }

    public var plan: Plan {
        Plan(
            sweep: Sweep(
                execution,
                inputs: [
                    Operand(pred, mask: 2, isProbability: term.isProbability),
                    Operand(gt, mask: 2, isProbability: term.needsProbabilityTargets), Operand(mask),
                ], like: pred, groups: term.isPerImage ? pred.shape[0] : 1, sums: Balance.sums,
                temporaries: Balance.temporaries, histograms: term.histograms))
    }

    private func values(_ b: Block) -> Balance.Values {
        Balance.Values(p: b.input(0), g: b.input(1), m: b.input(2), scratch: 0, thresholds: thresholds)
    }

    public func accumulate(_ b: Block) { term.accumulate(b, values(b), into: 0, histogram: 0) }

    public func select(_ statistics: inout [Double], _ histograms: Histograms?) throws(LossError) {
        let selection = try term.select(&statistics, at: 0, plan.sweep, counted: histograms, values)
        statistics += selection.entries
    }

    public func parts(_ statistics: [Double]) throws(LossError) -> Balance.Parts {
        try term.parts(statistics[..<Balance.sums], statistics[Balance.sums...])
    }

    public func gradient(_ b: Block, _ parts: Balance.Parts, times factor: Double) {
        term.gradient(b, parts, values(b), times: factor, to: b.output(0))
    }
}

/// The cross-entropy map that `BalanceLoss` gives without its balance, or beside it as the original loss.
public struct BalanceMap {
    let term: Balance
    let pred, gt: Tensor
    /// Not part of the formula: what `skipMasked` goes by.
    let mask: Tensor?
    let execution: Execution

    public init(
        _ term: Balance, pred: Tensor, gt: Tensor, mask: Tensor?, _ execution: Execution
    ) throws(LossError) {
        guard term.main == .bce else {
            throw LossError(.unsupported, "main_loss: only BCELoss has a map; the others are one number")
        }
        try pred.requireFloating()
        try gt.requireShape(of: pred)
        try mask?.requireShape(of: pred)
        (self.term, self.pred, self.gt, self.mask, self.execution) = (term, pred, gt, mask, execution)
    }

    /// pred, gt, what `backward` reads, mask.
    private func operands(_ extra: [Tensor]) -> [Operand] {
        let maskAt = mask == nil ? nil : 2 + extra.count
        return [
            Operand(pred, mask: maskAt, isProbability: term.isProbability),
            Operand(gt, mask: maskAt, isProbability: term.needsProbabilityTargets),
        ] + extra.map { Operand($0, mask: maskAt) } + (mask.map { [Operand($0)] } ?? [])
    }

    private func inputs(_ extra: [Tensor]) -> [Tensor] { operands(extra).dropFirst().map { $0.tensor } }

    /// What `value` and `backward` refuse, and, where both are to be run, outputs that the other one reads or writes.
    public func check(out: Tensor?, gradOutput: Tensor?, gradient: Tensor?) throws(LossError) {
        try out?.requireMap(like: pred, apartFrom: inputs([]), mayReplace: pred)
        guard let gradOutput, let gradient else { return }
        try gradOutput.requireFloating()
        try gradOutput.requireShape(of: pred)
        try gradient.requireMap(like: pred, apartFrom: inputs([gradOutput]), mayReplace: pred)
        for other in [pred, gradient] { try out?.requireNoOverlap(with: other) }
    }

    public func value(to out: Tensor) throws(LossError) {
        try check(out: out, gradOutput: nil, gradient: nil)
        let sweep = Sweep(execution, inputs: operands([]), outputs: [out], like: pred, checksValues: true)
        try sweep.run { b in term.map(b, b.input(0), b.input(1), to: b.output(0)) }
    }

    /// gradient = gradOutput·dℓ/dp, element by element.
    public func backward(gradOutput: Tensor, to gradient: Tensor) throws(LossError) {
        try check(out: nil, gradOutput: gradOutput, gradient: gradient)
        let sweep = Sweep(
            execution, inputs: operands([gradOutput]), outputs: [gradient], like: pred, temporaries: 1,
            checksValues: true)
        try sweep.run { b in
            term.mapGradient(b, b.input(0), b.input(1), to: b.temporary(0))
            b.kernels.product(b.input(2), b.temporary(0), b.output(0), b.padded)
        }
    }
}
