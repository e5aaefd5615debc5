import KernelTable

/// CTPN: is an anchor text, where is its text vertically, and where does the line end.
///
///     Ls = Σ_kept [log Σ e^s − s_label] / N        Lv = λ₁·Σ_kept Σ ow·φ(iw·(b − t)) / V
///     Lo = λ₂·Σ_kept m·φ(o − o*) / max(Σ_kept m, 1)        L = Ls + Lv + Lo
///
/// An anchor is kept if its label is not −1: N of them, F with label 1. φ is smooth L1 with β = 1/σ². Published is
/// text-detection-ctpn's: V = F + 1, σ² = 9, and no Lo, which that code lacks (it is computed where its arrays are
/// given). The paper's: V = max(F, 1), β = 1. Where nothing is kept L is 0 with zero gradient.
///
/// Source: Tian et al. 2016, Detecting Text in Natural Image with Connectionist Text Proposal Network (arXiv
/// 1609.03605), section 3.4; eragonruan/text-detection-ctpn, branch banjin-dev.
public struct CTPN: Sendable {
    public enum Variant: Int32, Sendable {
        case published = 0
        case paper = 1
    }

    public var variant: Variant
    public var sigma2: Double
    /// Weights of Lv and Lo.
    public var lambda1: Double
    public var lambda2: Double

    public init(variant: Variant, sigma2: Double, lambda1: Double, lambda2: Double) throws(LossError) {
        guard sigma2.isFinite, sigma2 > 0 else {
            throw LossError(.option, "sigma2: expected a finite number above 0, got \(sigma2)")
        }
        try requireFinite("lambda1", lambda1)
        try requireFinite("lambda2", lambda2)
        (self.variant, self.sigma2, self.lambda1, self.lambda2) = (variant, sigma2, lambda1, lambda2)
    }

    public struct Parts: Sendable {
        public var loss: Double { modelLoss + side }
        /// What the published code optimises.
        public var modelLoss: Double { classes + box }
        /// Ls, and Lv and Lo with their weights.
        public var classes: Double
        public var box: Double
        public var side: Double
        /// N, F and Σ m.
        public var kept: Double
        public var positives: Double
        public var sides: Double
        /// What each term is a sum of, times this.
        fileprivate var scales: (classes: Double, box: Double, side: Double)
    }
}

/// Over the anchors of one image, or of several. Rows: cls (n, 2), box (n, 4), side and labels (n,). Maps: cls
/// (N, H, W, A·2), box (N, H, W, A·4), side and labels (N, H, W, A). Heads, as a convolution leaves them: cls
/// (N, A·2, H, W), box (N, A·2, H, W) with dy and dh alone, side (N, A, H, W). Targets and weights are rows or maps.
public struct CTPNLoss: Loss {
    public struct Side: Sendable {
        let pred, targets, mask: Tensor

        public init(pred: Tensor, targets: Tensor, mask: Tensor) {
            (self.pred, self.targets, self.mask) = (pred, targets, mask)
        }
    }

    let term: CTPN
    let cls, box, labels, targets, inside, outside: Tensor
    let side: Side?
    let execution: Execution
    private let layout: AnchorLayout

    public init(
        _ term: CTPN, cls: Tensor, box: Tensor, labels: Tensor, targets: Tensor, inside: Tensor, outside: Tensor,
        side: Side?, _ execution: Execution
    ) throws(LossError) {
        (self.term, self.cls, self.box, self.labels, self.targets) = (term, cls, box, labels, targets)
        (self.inside, self.outside, self.side, self.execution) = (inside, outside, side, execution)
        layout = try AnchorLayout(cls: cls, box: box)
        try cls.requireFloating()
        try box.requireType(of: cls)
        try side?.pred.requireType(of: cls)
        try layout.requirePrediction(box, layout.isHeads ? 2 : 4)
        if let side { try layout.requirePrediction(side.pred, 1) }
        for tensor in [targets, inside, outside] { try layout.requireConstant(tensor, 4) }
        for tensor in [labels] + (side.map { [$0.targets, $0.mask] } ?? []) { try layout.requireConstant(tensor, 1) }
    }

    public var predictions: [Tensor] { [cls, box] + (side.map { [$0.pred] } ?? []) }
    public var constants: [Tensor] {
        [labels, targets, inside, outside] + (side.map { [$0.targets, $0.mask] } ?? [])
    }

    /// Σ cross-entropy, N, F, Σ ow·φ, Σ m·φ, Σ m.
    public static let sums = 6
    public var statisticsCount: Int { Self.sums }

    // Operands: 0 label, 1 and 2 logits, then four for each coordinate (b, t, iw, ow), then o, o* and m.

    private var coordinates: Int { layout.isHeads ? 2 : 4 }
    private var sideAt: Int { 3 + 4 * coordinates }

    public var plan: Plan {
        var operands = [Operand(labels, labels: Labels(classes: 2, ignored: -1))]
        operands += layout.columns(ofPrediction: cls, 2).map { Operand($0) }
        let predicted = layout.columns(ofPrediction: box, coordinates)
        // Heads predict the vertical coordinates, which are dy and dh of dx, dy, dw, dh.
        let given = [targets, inside, outside].map { tensor in
            let columns = layout.columns(of: tensor, 4)
            return layout.isHeads ? [columns[1], columns[3]] : columns
        }
        for i in 0..<coordinates {
            operands += [Operand(predicted[i])] + given.map { Operand($0[i]) }
        }
        if let side {
            operands += layout.columns(ofPrediction: side.pred, 1).map { Operand($0) }
            operands += [Operand(side.targets), Operand(side.mask)]
        }
        return Plan(
            sweep: Sweep(execution, inputs: operands, like: operands[1].tensor, sums: Self.sums, temporaries: 5))
    }

    public func outputs(_ gradients: [Tensor?]) -> [Tensor?] {
        let counts = [2, coordinates, 1]
        var outputs: [Tensor?] = []
        for i in predictions.indices {
            let gradient = i < gradients.count ? gradients[i] : nil
            let none = [Tensor?](repeating: nil, count: counts[i])
            outputs += gradient.map { layout.columns(ofPrediction: $0, counts[i]).map { $0 } } ?? none
        }
        return outputs
    }

    // Temporaries: 0 kept, 1 counts, 2 weights, 3 and 4 whatever is being computed.

    private var skips: Bool { execution.nonFinite == .skipMasked }

    /// 1 on kept anchors, 0 elsewhere and past the last.
    private func kept(_ b: Block) -> UnsafeRawPointer {
        b.kernels.ones(b.count, b.temporary(3), b.padded)
        b.kernels.not_ignored(b.input(0), -1, b.temporary(3), b.temporary(0), b.padded)
        return UnsafeRawPointer(b.temporary(0))
    }

    /// Not 0 where an offset counts: on kept anchors, and if masked ones are not to be read only where its weight is
    /// not 0. Beyond that nothing may come through, NaN least of all.
    private func counts(
        _ b: Block, _ kept: UnsafeRawPointer, inside: UnsafeRawPointer?, outside: UnsafeRawPointer
    ) -> UnsafeRawPointer {
        guard skips else { return kept }
        var weight = outside
        if let inside {
            b.kernels.product(inside, outside, b.temporary(3), b.padded)
            weight = UnsafeRawPointer(b.temporary(3))
        }
        b.kernels.keep(weight, kept, b.temporary(1), b.padded)
        return UnsafeRawPointer(b.temporary(1))
    }

    private func accumulate(
        _ b: Block, _ kept: UnsafeRawPointer, _ pred: UnsafeRawPointer, _ target: UnsafeRawPointer,
        inside: UnsafeRawPointer?, outside: UnsafeRawPointer, into sum: Int
    ) {
        let counts = counts(b, kept, inside: inside, outside: outside)
        b.kernels.keep(outside, counts, b.temporary(2), b.padded)
        b.kernels.smooth_l1(pred, target, inside, 1 / term.sigma2, b.temporary(3), b.padded)
        b.kernels.keep(b.temporary(3), counts, b.temporary(4), b.padded)
        b.kernels.dot(b.temporary(2), b.temporary(4), b.padded, b.sums(sum))
    }

    private func gradient(
        _ b: Block, _ kept: UnsafeRawPointer, _ pred: UnsafeRawPointer, _ target: UnsafeRawPointer,
        inside: UnsafeRawPointer?, outside: UnsafeRawPointer, times scale: Double, to out: UnsafeMutableRawPointer
    ) {
        let counts = counts(b, kept, inside: inside, outside: outside)
        b.kernels.smooth_l1_gradient(
            pred, target, inside, outside, 1 / term.sigma2, scale, b.temporary(4), b.padded)
        b.kernels.keep(b.temporary(4), counts, out, b.padded)
    }

    public func accumulate(_ b: Block) {
        let kept = kept(b)
        // The cross-entropy of two logits is that of their difference, which loses no digits where it is small.
        b.kernels.scaled_difference(b.input(2), b.input(1), 1, b.temporary(3), b.padded)
        b.kernels.bce_logits(b.temporary(3), b.input(0), 1, b.temporary(4), b.padded)
        b.kernels.keep(b.temporary(4), kept, b.temporary(3), b.padded)
        b.kernels.sum2(b.temporary(3), kept, b.padded, b.sums(0))
        b.kernels.one_hot(b.input(0), 1, b.temporary(3), b.padded)
        b.kernels.sum(b.temporary(3), b.padded, b.sums(2))
        for i in 0..<coordinates {
            let at = 3 + 4 * i
            accumulate(
                b, kept, b.input(at), b.input(at + 1), inside: b.input(at + 2), outside: b.input(at + 3), into: 3)
        }
        if side != nil {
            let at = sideAt
            accumulate(b, kept, b.input(at), b.input(at + 1), inside: nil, outside: b.input(at + 2), into: 4)
            b.kernels.sum(b.temporary(2), b.padded, b.sums(5))
        }
    }

    public func parts(_ s: [Double]) -> CTPN.Parts {
        let kept = s[1]
        let positives = s[2]
        // No kept anchor: no term has anything to scale.
        let classes = kept == 0 ? 0 : 1 / kept
        let box = term.lambda1 / (term.variant == .published ? positives + 1 : max(positives, 1))
        let side = side == nil ? 0 : term.lambda2 / max(s[5], 1)
        return CTPN.Parts(
            classes: kept == 0 ? 0 : s[0] / kept, box: box * s[3], side: self.side == nil ? 0 : side * s[4], kept: kept,
            positives: positives, sides: s[5], scales: (classes, box, side))
    }

    public func gradient(_ b: Block, _ parts: CTPN.Parts, times factor: Double) {
        let kept = kept(b)
        b.kernels.scaled_difference(b.input(2), b.input(1), 1, b.temporary(3), b.padded)
        b.kernels.bce_logits_gradient(
            b.temporary(3), b.input(0), nil, 1, factor * parts.scales.classes, b.temporary(4), b.padded)
        b.kernels.scale(b.temporary(4), -1, b.temporary(3), b.padded)
        b.kernels.keep(b.temporary(3), kept, b.output(0), b.padded)
        b.kernels.keep(b.temporary(4), kept, b.output(1), b.padded)
        for i in 0..<coordinates {
            let at = 3 + 4 * i
            gradient(
                b, kept, b.input(at), b.input(at + 1), inside: b.input(at + 2), outside: b.input(at + 3),
                times: factor * parts.scales.box, to: b.output(2 + i))
        }
        if side != nil {
            let at = sideAt
            gradient(
                b, kept, b.input(at), b.input(at + 1), inside: nil, outside: b.input(at + 2),
                times: factor * parts.scales.side, to: b.output(2 + coordinates))
        }
    }
}

/// Where the numbers of an anchor lie. Logical order: image, row, column, anchor; its numbers are side by side in rows
/// and maps, and neighbouring channels in heads: (anchor, coordinate).
private struct AnchorLayout: Sendable {
    let isHeads: Bool
    /// (n,) or (N, H, W, A).
    let anchors: Extents

    init(cls: Tensor, box: Tensor) throws(LossError) {
        let shape = cls.shape
        // Where both have two numbers an anchor, box holds dy and dh: heads.
        isHeads = shape.rank == 4 && box.shape == shape
        let numbers = shape.rank == 2 ? shape[1] : shape.rank == 4 ? shape[isHeads ? 1 : 3] : 1
        if shape.rank == 4, !isHeads, numbers % 2 != 0, shape[1] % 2 == 0 {
            throw LossError(.shape, "box: expected shape \(shape.text) like cls (heads), got \(box.shape.text)")
        }
        guard shape.rank == 2 ? numbers == 2 : numbers % 2 == 0 else {
            throw LossError(
                shape.rank == 2 || shape.rank == 4 ? .shape : .rank,
                "cls: expected rows (n, 2), maps (N, H, W, A*2) or heads (N, A*2, H, W), got shape \(shape.text)")
        }
        anchors =
            shape.rank == 2
            ? Extents([shape[0]])
            : isHeads
                ? Extents([shape[0], shape[2], shape[3], numbers / 2])
                : Extents([shape[0], shape[1], shape[2], numbers / 2])
    }

    /// The shape of a tensor with so many numbers an anchor, as the predictions have it.
    private func shape(_ numbers: Int, heads: Bool) -> Extents {
        var shape = anchors
        if anchors.rank == 1 {
            if numbers > 1 { shape.append(numbers) }
        } else {
            shape[3] = anchors[3] * numbers
            if heads { shape = Extents([shape[0], shape[3], shape[1], shape[2]]) }
        }
        return shape
    }

    func requirePrediction(_ tensor: Tensor, _ numbers: Int) throws(LossError) {
        let expected = shape(numbers, heads: isHeads)
        guard tensor.shape == expected else {
            // A box that is not of heads may have been meant to be.
            let heads = !isHeads && anchors.rank == 4 && numbers == 4 ? ", or cls's shape (heads)" : ""
            throw LossError(
                .shape, "\(tensor.name): expected shape \(expected.text)\(heads), got \(tensor.shape.text)")
        }
    }

    /// Rows or maps, whatever the predictions are.
    func requireConstant(_ tensor: Tensor, _ numbers: Int) throws(LossError) {
        let n = anchors.count
        var rows = Extents([n])
        if numbers > 1 { rows.append(numbers) }
        if tensor.shape == rows { return }
        // Rows do not say which maps they are of.
        let map = shape(numbers, heads: false)
        let isMap =
            anchors.rank == 4
            ? tensor.shape == map
            : tensor.shape.rank == 4 && tensor.shape[3] % numbers == 0 && tensor.count == n * numbers
        guard isMap else {
            let last = numbers == 1 ? "A" : "A*\(numbers)"
            let also = anchors.rank == 4 ? map.text : "the maps (N, H, W, \(last)) of \(n) anchors"
            throw LossError(.shape, "\(tensor.name): expected shape \(rows.text) or \(also), got \(tensor.shape.text)")
        }
    }

    /// A view of each of an anchor's numbers: of rows or maps, and of a prediction or its gradient.
    func columns(of constant: Tensor, _ numbers: Int) -> [Tensor] {
        numbers == 1 ? [constant] : (0..<numbers).map { constant.every(numbers, from: $0) }
    }

    func columns(ofPrediction tensor: Tensor, _ numbers: Int) -> [Tensor] {
        columns(of: isHeads ? tensor.channelsLast() : tensor, numbers)
    }
}

extension Extents {
    /// How many elements a tensor of this shape has.
    fileprivate var count: Int { (0..<rank).reduce(1) { $0 * self[$1] } }
}
