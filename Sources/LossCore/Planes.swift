import KernelTable

/// A prediction, its target and its weights, read class by class: a block holds one plane for each class.
///
/// Where the classes need not be told apart, everything is one plane. Integer labels become one-hot a block at a time;
/// masks and weights may lack the class dimension. Sums come back for each group (the batch, or each sample) and plane.
struct Planes {
    let classes: Classes
    /// Classes of the prediction.
    let channels: Int
    /// Planes of a block: the classes, or one.
    let count: Int
    let groups: Int
    let operands: [Operand]
    let positions: Positions?
    /// What a plane looks like.
    let like: Tensor
    let hasLabels: Bool

    private let isFlat: Bool
    private let target: Int
    private let mask: Int?
    private let weight: Int?
    private let maskIsShared: Bool
    private let weightIsShared: Bool
    private let ignored: Double?

    /// Temporaries that reading takes; what a loss uses comes after them.
    static let temporaries = 3

    enum TargetForm {
        /// Of the prediction's shape only.
        case dense
        /// Also labels, without the class dimension; with a single class that is dense.
        case denseOrLabels
        /// Labels even where there is a single class.
        case classLabels
    }

    init(
        _ pred: Tensor, target: Tensor, mask: Tensor?, weight: Tensor?, _ classes: Classes,
        targetForm: TargetForm = .denseOrLabels, probabilities: Bool = false, targetProbabilities: Bool = false,
        perClass: Bool = false
    ) throws(LossError) {
        self.classes = classes
        try pred.requireFloating()
        let rank = pred.shape.rank
        channels = rank >= 2 ? pred.shape[1] : 1

        let isOfPositions = targetForm == .classLabels
        if isOfPositions { try pred.requireClasses() }
        // Integers where there is a single class are labels of it; elsewhere they are one-hot already.
        let isDense =
            target.shape == pred.shape && !(isOfPositions && channels == 1 && !target.type.isFloating)
        let lacksClasses = rank >= 2 && pred.hasShape(of: target, withoutDimension: 1)
        guard isDense || (lacksClasses && (channels == 1 || targetForm != .dense)) else {
            let labels =
                rank >= 2 && targetForm != .dense
                ? ", or labels of shape \(pred.shapeWithoutClasses)" : ""
            throw LossError(
                .shape,
                "\(target.name): expected shape \(pred.shape.text) like \(pred.name)\(labels), got \(target.shape.text)"
            )
        }
        hasLabels = !isDense && (channels > 1 || targetForm == .classLabels)
        if hasLabels, target.type.isFloating {
            throw LossError(
                .elementType, "\(target.name): labels are expected as uint8, int32 or int64, got \(target.type.text)")
        }
        for other in [mask, weight] {
            guard let other else { continue }
            if other.shape == pred.shape, !isOfPositions || channels == 1 { continue }
            guard rank >= 2, pred.hasShape(of: other, withoutDimension: 1) else {
                let full = isOfPositions ? "" : pred.shape.text + (rank >= 2 ? " or " : "")
                let shared = rank >= 2 ? pred.shapeWithoutClasses : ""
                throw LossError(
                    .shape,
                    "\(other.name): expected shape \(full)\(shared) for \(pred.name), got \(other.shape.text)")
            }
        }

        let onePlane =
            !perClass && classes.activation != .softmax && !hasLabels && classes.weights == nil && classes.chosen == nil
            && (classes.average == .micro || channels == 1)
        // Classes that share a mask have to be told apart, unless there is just one.
        let shares = channels > 1 && [mask, weight].contains { $0.map { $0.shape != pred.shape } ?? false }
        isFlat = onePlane && !shares
        // Views of a class are operands: more of them than this are no segmentation.
        guard isFlat || channels <= 1 << 16 else {
            throw LossError(.unsupported, "\(pred.name): \(channels) classes; at most 65536 are supported")
        }
        if !isFlat || classes.average == .macro {
            try pred.requireClasses()
        } else if classes.perSample {
            try pred.requireSamples()
        }
        try classes.require(channels: channels)

        count = isFlat ? 1 : channels
        groups = classes.perSample ? pred.shape[0] : 1
        ignored = classes.ignored.map { Double($0) }

        // With a single class every tensor may have its dimension or not: drop it everywhere.
        let (isFlat, channels, hasLabels, ignored) = (isFlat, channels, hasLabels, ignored)
        let drops = channels == 1 && rank >= 2
        func planes(_ tensor: Tensor) -> [Tensor] {
            if isFlat { return [drops && tensor.shape == pred.shape ? tensor.channel(0) : tensor.withoutClasses(pred)] }
            if tensor.shape == pred.shape { return (0..<channels).map { tensor.channel($0) } }
            return [tensor.withoutClasses(pred)]
        }
        let preds = planes(pred)
        let targets = planes(target)
        let masks = mask.map { planes($0) } ?? []
        let weights = weight.map { planes($0) } ?? []
        self.target = preds.count
        self.mask = masks.isEmpty ? nil : preds.count + targets.count
        self.weight = weights.isEmpty ? nil : preds.count + targets.count + masks.count
        maskIsShared = masks.count == 1
        weightIsShared = weights.count == 1
        like = preds[0]

        let maskAt = self.mask
        /// The mask of plane c of `planes`; none where a plane of all classes meets a mask for each.
        func maskOf(_ c: Int, _ planes: Int) -> Int? {
            masks.count == 1 ? maskAt : masks.count == planes ? maskAt.map { $0 + c } : nil
        }
        /// The target that says not to read plane c of `planes`.
        func ignoredBy(_ c: Int, _ planes: Int) -> Ignored? {
            guard let ignored, hasLabels || planes == preds.count else { return nil }
            return Ignored(operand: preds.count + (hasLabels ? 0 : c), value: ignored)
        }
        // A softmax needs every class of a position where any of them counts. Labels and masks without classes rule out
        // whole positions anyway.
        let readsWholePositions = classes.activation == .softmax
        var operands: [Operand] = []
        for (c, plane) in preds.enumerated() {
            operands.append(
                Operand(
                    plane, mask: readsWholePositions && masks.count > 1 ? nil : maskOf(c, preds.count),
                    ignored: readsWholePositions && !hasLabels ? nil : ignoredBy(c, preds.count),
                    isProbability: probabilities))
        }
        let labels = hasLabels ? Labels(classes: channels, ignored: classes.ignored) : nil
        for (c, plane) in targets.enumerated() {
            operands.append(
                Operand(
                    plane, mask: maskOf(c, targets.count),
                    isProbability: targetProbabilities && !hasLabels, labels: labels, exempt: ignored))
        }
        operands += masks.map { Operand($0) }
        for (c, plane) in weights.enumerated() {
            operands.append(
                Operand(plane, mask: maskOf(c, weights.count), ignored: ignoredBy(c, weights.count)))
        }
        self.operands = operands
        positions =
            readsWholePositions && ((ignored != nil && !hasLabels) || masks.count > 1)
            ? Positions(
                classes: channels,
                ignored: hasLabels ? nil : ignored.map { Ignored(operand: preds.count, value: $0) },
                masks: masks.count > 1 ? maskAt : nil)
            : nil
    }

    /// The views of a gradient that a block's outputs are.
    func outputs(_ gradient: Tensor?) -> [Tensor?] {
        guard let gradient else { return [Tensor?](repeating: nil, count: count) }
        if isFlat { return [gradient] }
        return (0..<channels).map { gradient.channel($0) }
    }

    /// One class of a block.
    struct Plane {
        let x, y: UnsafeRawPointer
        /// Which elements exist (nil: all), and the same times their weights.
        let m, w: UnsafeRawPointer?
    }

    func plane(_ c: Int, of b: Block) -> Plane {
        let raw = b.input(hasLabels ? target : target + c)
        var y = raw
        // Past the end of the data a block is padded with zeros, which are no elements.
        var m = mask.map { b.input(maskIsShared ? $0 : $0 + c) }
        if m == nil, b.count < b.padded {
            b.kernels.ones(b.count, b.temporary(1), b.padded)
            m = UnsafeRawPointer(b.temporary(1))
        }
        if let ignored {
            b.kernels.not_ignored(y, ignored, m, b.temporary(1), b.padded)
            m = UnsafeRawPointer(b.temporary(1))
        }
        if hasLabels {
            b.kernels.one_hot(y, Double(c), b.temporary(0), b.padded)
            y = UnsafeRawPointer(b.temporary(0))
        } else if let ignored {
            b.kernels.not_ignored(y, ignored, y, b.temporary(0), b.padded)
            y = UnsafeRawPointer(b.temporary(0))
        }
        var w = m
        if let weight {
            w = b.input(weightIsShared ? weight : weight + c)
            if let m, let weight = w {
                b.kernels.product(m, weight, b.temporary(2), b.padded)
                w = UnsafeRawPointer(b.temporary(2))
            }
            // 0 there already, unless its weight is no number.
            if let ignored { b.kernels.not_ignored(raw, ignored, w, b.temporary(2), b.padded) }
        }
        return Plane(x: b.input(c), y: y, m: m, w: w)
    }

    /// Adds Σ m.
    func countElements(_ b: Block, _ m: UnsafeRawPointer?, into at: Int) {
        if let m { b.kernels.sum(m, b.padded, b.sums(at)) } else { b.add(Double(b.count), to: at) }
    }

    // MARK: Items: what a score is computed of

    private var chosen: [Int] { classes.chosen ?? Array(0..<count) }
    private var isMacro: Bool { classes.average == .macro }
    var itemsPerGroup: Int { isMacro ? chosen.count : 1 }
    var items: Int { groups * itemsPerGroup }

    /// The items' shape: (), (N), (classes) or (N, classes).
    var itemsShape: Extents {
        var shape = Extents()
        if classes.perSample { shape.append(groups) }
        if isMacro { shape.append(itemsPerGroup) }
        return shape
    }

    /// The item that each plane belongs to in group 0; −1: to none.
    var itemOfPlane: [Int] {
        guard !isFlat else { return [0] }
        var items = [Int](repeating: -1, count: count)
        for (i, c) in chosen.enumerated() { items[c] = isMacro ? i : 0 }
        return items
    }

    /// The factor of a plane's sums (micro), and of an item (macro).
    func sumWeight(_ plane: Int) -> Double { isMacro ? 1 : classes.weights?[plane] ?? 1 }
    func itemWeight(_ item: Int) -> Double { isMacro ? classes.weights?[chosen[item % itemsPerGroup]] ?? 1 : 1 }

    /// The sums of each item, from those of each group and plane. The last `plain` of them take no class weight.
    func collect(_ sums: [Double], each width: Int, plain: Int = 0) -> [Double] {
        var statistics = [Double](repeating: 0, count: items * width)
        let itemOfPlane = itemOfPlane
        for group in 0..<groups {
            for c in 0..<count where itemOfPlane[c] >= 0 && !sums.isEmpty {
                let item = group * itemsPerGroup + itemOfPlane[c]
                for k in 0..<width {
                    let weight = k < width - plain ? sumWeight(c) : 1
                    statistics[item * width + k] += weight * sums[(group * count + c) * width + k]
                }
            }
        }
        return statistics
    }
}

extension Tensor {
    func requireSamples() throws(LossError) {
        guard shape.rank >= 2 else {
            throw LossError(
                .rank, "\(name): expected N x C x ..., at least rank 2, got shape \(shape.text)")
        }
    }

    func requireClasses() throws(LossError) {
        try requireSamples()
        guard shape[1] > 0 else {
            throw LossError(.shape, "\(name): expected at least one class, got shape \(shape.text)")
        }
    }

    /// Whether `other` has this shape without dimension 1, or with 1 in its place.
    func hasShape(of other: Tensor, withoutDimension dimension: Int) -> Bool {
        var without = Extents()
        var unit = Extents()
        for i in 0..<shape.rank {
            if i != dimension { without.append(shape[i]) }
            unit.append(i == dimension ? 1 : shape[i])
        }
        return other.shape == without || other.shape == unit
    }

    var shapeWithoutClasses: String {
        var without = Extents()
        for i in 0..<shape.rank where i != 1 { without.append(shape[i]) }
        return without.text
    }

    /// Without the unit dimension in the place of the classes, if it is there.
    func withoutClasses(_ pred: Tensor) -> Tensor {
        shape.rank == pred.shape.rank && shape.rank >= 2 && shape[1] == 1 ? channel(0) : self
    }
}
