import CSystem
import KernelTable

/// What CTPN's anchors are trained towards: labels, offsets and their weights, from the boxes of an image.
///
/// Anchors stand in every place of the feature map, all as wide as the stride, one for each height. Those inside the
/// image are compared with the boxes (intersection over union of whole pixels, hence the + 1 in every extent),
/// labelled, and thinned out to a batch. What the variants differ in, and every convention, stands in include/losses.h.
///
/// Source: Tian et al. 2016 (arXiv 1609.03605), section 3; eragonruan/text-detection-ctpn, branch banjin-dev.
public struct CTPNAnchors: Sendable {
    public var variant: CTPN.Variant
    public var stride: Int
    public var width: Double
    public var batch: Int
    public var positivesAtMost: Int
    public var clobbersPositives: Bool
    public var negativeOverlap: Double
    public var positiveOverlap: Double
    public var positiveWeight: Double
    /// Of dx, dy, dw, dh.
    public var insideWeights: [Double]
    public var sideDistance: Double

    /// The authors' ten, each about 1/0.7 of the one before.
    public static let heights: [Double] = [11, 16, 23, 33, 48, 68, 97, 139, 198, 283]
    private static let largest = 65536.0
    private static let mostBoxes = 1 << 20
    private static let mostHeights = 1 << 10

    public init(
        variant: CTPN.Variant, stride: Int, width: Double, batch: Int, fgFraction: Double, clobbersPositives: Bool,
        negativeOverlap: Double, positiveOverlap: Double, positiveWeight: Double, insideWeights: [Double],
        sideDistance: Double
    ) throws(LossError) {
        guard (1...Int(Self.largest)).contains(stride) else {
            throw LossError(.option, "stride: expected 1 to \(Int(Self.largest)), got \(stride)")
        }
        try Self.requireExtent("width", width)
        guard batch >= 0, batch <= Int(Int32.max) else {
            throw LossError(.option, "batch_size: expected at least 0, got \(batch)")
        }
        try requireFinite("negative_overlap", negativeOverlap)
        try requireFinite("positive_overlap", positiveOverlap)
        guard fgFraction >= 0, fgFraction <= 1 else {
            throw LossError(.option, "fg_fraction: expected a number in [0, 1], got \(fgFraction)")
        }
        guard positiveWeight.isFinite, positiveWeight < 0 || (positiveWeight > 0 && positiveWeight < 1) else {
            throw LossError(.option, "positive_weight: expected a number below 0, or in (0, 1), got \(positiveWeight)")
        }
        for (i, name) in (["inside_dx", "inside_dy", "inside_dw", "inside_dh"] as [StaticString]).enumerated() {
            try requireFinite(name, insideWeights[i])
        }
        guard sideDistance.isFinite, sideDistance >= 0 else {
            throw LossError(.option, "side_distance: expected a finite number of at least 0, got \(sideDistance)")
        }
        self.variant = variant
        self.stride = stride
        self.width = width
        self.batch = batch
        positivesAtMost = Int(fgFraction * Double(batch))
        self.clobbersPositives = clobbersPositives
        self.negativeOverlap = negativeOverlap
        self.positiveOverlap = positiveOverlap
        self.positiveWeight = positiveWeight
        self.insideWeights = insideWeights
        self.sideDistance = sideDistance
    }

    private static func requireExtent(_ name: StaticString, _ value: Double) throws(LossError) {
        guard value > 0, value <= largest else {
            throw LossError(.option, "\(name): expected a number above 0, at most \(Int(largest)), got \(value)")
        }
    }

    /// Labels are int32 of shape (1, H, W, A), which is the feature map's; the rest float32, (1, H, W, A·4) and for the
    /// sides (1, H, W, A).
    public struct Outputs: Sendable {
        let labels: Tensor
        let targets, inside, outside, sideTargets, sideMask: Tensor?

        public init(
            labels: Tensor, targets: Tensor?, inside: Tensor?, outside: Tensor?, sideTargets: Tensor?,
            sideMask: Tensor?
        ) {
            (self.labels, self.targets, self.inside, self.outside) = (labels, targets, inside, outside)
            (self.sideTargets, self.sideMask) = (sideTargets, sideMask)
        }

        var all: [Tensor] { [labels] + [targets, inside, outside, sideTargets, sideMask].compactMap { $0 } }

        func check(anchors: Int, inputs: [Tensor]) throws(LossError) {
            let shape = labels.shape
            guard shape.rank == 4, shape[0] == 1, shape[3] == anchors else {
                throw LossError(
                    .shape,
                    "rpn_labels: expected shape (1, H, W, \(anchors)) for \(anchors) heights, got \(shape.text)")
            }
            guard labels.count <= Int(Int32.max) else {
                throw LossError(.shape, "rpn_labels: \(labels.count) anchors are too many")
            }
            for (tensor, numbers) in [(targets, 4), (inside, 4), (outside, 4), (sideTargets, 1), (sideMask, 1)] {
                guard let tensor else { continue }
                let expected = Extents([1, shape[1], shape[2], anchors * numbers])
                guard tensor.shape == expected else {
                    throw LossError(
                        .shape, "\(tensor.name): expected shape \(expected.text), got \(tensor.shape.text)")
                }
                guard tensor.type == .f32 else {
                    throw LossError(
                        .elementType, "\(tensor.name): expected element type float32, got \(tensor.type.text)")
                }
            }
            guard labels.type == .i32 else {
                throw LossError(.elementType, "rpn_labels: expected element type int32, got \(labels.type.text)")
            }
            for (i, tensor) in all.enumerated() {
                try tensor.requireWritable()
                for other in inputs + all[..<i] { try tensor.requireNoOverlap(with: other) }
            }
        }
    }

    public func callAsFunction(
        gtBoxes: Tensor, lineBoxes: Tensor?, heights: Tensor?, imageHeight: Double, imageWidth: Double,
        generator: inout MT19937?, to outputs: Outputs
    ) throws(LossError) {
        try requireFinite("image_height", imageHeight)
        try requireFinite("image_width", imageWidth)
        if let heights { try heights.requireRank(1, "a number for each anchor") }
        let count = heights?.count ?? Self.heights.count
        guard (1...Self.mostHeights).contains(count) else {
            throw LossError(.shape, "heights: expected 1 to \(Self.mostHeights) of them, got \(count)")
        }
        try outputs.check(anchors: count, inputs: [gtBoxes] + [lineBoxes, heights].compactMap { $0 })
        var list = Self.heights
        if let heights {
            list = (0..<count).map { heights.number(at: $0) }
            for height in list { try Self.requireExtent("heights", height) }
        }
        let boxes = try boxes(gtBoxes)
        let lines = try lineBoxes.map { tensor throws(LossError) in try self.boxes(tensor) } ?? boxes
        guard outputs.labels.count > 0 else { return }
        let grid = AnchorGrid(
            stride: stride, width: width, heights: list, rows: outputs.labels.shape[1],
            columns: outputs.labels.shape[2], imageHeight: imageHeight, imageWidth: imageWidth)

        let overlaps = try Scratch<Double>(grid.count)
        let matches = try Scratch<Int32>(grid.count)
        let labels = try Scratch<Int8>(grid.count)
        let drawn = try Scratch<Int32>(grid.count)
        defer {
            overlaps.free()
            matches.free()
            labels.free()
            drawn.free()
        }
        overlaps.items.update(repeating: 0)
        matches.items.update(repeating: 0)
        labels.items.update(repeating: -1)
        label(grid, boxes, overlaps.items, matches.items, labels.items)
        let positives = thinOut(labels.items, label: 1, to: positivesAtMost, &generator, drawn.items)
        let negatives = thinOut(labels.items, label: 0, to: batch - positives, &generator, drawn.items)
        write(
            grid, boxes, lines, labels.items, matches.items, positives: positives, negatives: negatives, to: outputs)
    }

    private func boxes(_ tensor: Tensor) throws(LossError) -> [Box] {
        guard tensor.shape.rank == 2, tensor.shape[1] == 4 || tensor.shape[1] == 5 else {
            throw LossError(.shape, "\(tensor.name): expected shape (n, 4) or (n, 5), got \(tensor.shape.text)")
        }
        let (count, numbers) = (tensor.shape[0], tensor.shape[1])
        guard count <= Self.mostBoxes else {
            throw LossError(.shape, "\(tensor.name): \(count) boxes are more than \(Self.mostBoxes)")
        }
        var boxes: [Box] = []
        boxes.reserveCapacity(count)
        for i in 0..<count {
            var c = (0.0, 0.0, 0.0, 0.0)
            for j in 0..<4 {
                let value = tensor.number(at: i * numbers + j)
                guard value.isFinite else {
                    throw LossError(
                        .nonFinite, "\(tensor.name): \(value) at index (\(i), \(j)): expected finite coordinates")
                }
                switch j {
                case 0: c.0 = value
                case 1: c.1 = value
                case 2: c.2 = value
                default: c.3 = value
                }
            }
            guard variant == .published || (c.0 <= c.2 && c.1 <= c.3) else {
                throw LossError(
                    .outOfRange,
                    "\(tensor.name): box \(i) is (\(c.0), \(c.1), \(c.2), \(c.3)): expected x1 <= x2 and y1 <= y2")
            }
            boxes.append(Box(x1: c.0, y1: c.1, x2: c.2, y2: c.3))
        }
        return boxes
    }

    // MARK: Labels

    private func label(
        _ grid: AnchorGrid, _ boxes: [Box], _ overlaps: UnsafeMutableBufferPointer<Double>,
        _ matches: UnsafeMutableBufferPointer<Int32>, _ labels: UnsafeMutableBufferPointer<Int8>
    ) {
        guard !boxes.isEmpty else {
            grid.forEachInside { i, _, _ in labels[i] = 0 }
            return
        }
        var largest = [Double](repeating: 0, count: boxes.count)
        for (k, box) in boxes.enumerated() {
            var most = 0.0
            grid.forEachOverlap(with: box) { i, overlap in
                if overlap > overlaps[i] {
                    overlaps[i] = overlap
                    matches[i] = Int32(truncatingIfNeeded: k)
                }
                if overlap > most { most = overlap }
            }
            largest[k] = most
        }
        func markNegatives() {
            grid.forEachInside { i, _, _ in
                if overlaps[i] < negativeOverlap { labels[i] = 0 }
            }
        }
        if !clobbersPositives { markNegatives() }
        for (k, box) in boxes.enumerated() {
            if largest[k] > 0 {
                let most = largest[k]
                grid.forEachOverlap(with: box) { i, overlap in
                    if overlap == most { labels[i] = 1 }
                }
            } else if variant == .published {
                // Its largest overlap is 0, which all of them have.
                grid.forEachInside { i, _, _ in labels[i] = 1 }
            }
        }
        grid.forEachInside { i, _, _ in
            if overlaps[i] >= positiveOverlap { labels[i] = 1 }
        }
        if clobbersPositives { markNegatives() }
    }

    /// Leaves at most `limit` anchors of a label, the others become −1: those that numpy would draw, or the last ones.
    /// How many there are then.
    private func thinOut(
        _ labels: UnsafeMutableBufferPointer<Int8>, label: Int8, to limit: Int, _ generator: inout MT19937?,
        _ drawn: UnsafeMutableBufferPointer<Int32>
    ) -> Int {
        var count = 0
        for i in labels.indices where labels[i] == label {
            drawn[count] = Int32(truncatingIfNeeded: i)
            count += 1
        }
        guard count > limit else { return count }
        if generator != nil {
            // Shuffling the anchors themselves gives what shuffling their positions and looking them up would.
            generator?.shuffle(UnsafeMutableBufferPointer(rebasing: drawn[..<count]))
            for j in 0..<(count - limit) { labels[Int(drawn[j])] = -1 }
        } else {
            for j in limit..<count { labels[Int(drawn[j])] = -1 }
        }
        return limit
    }

    // MARK: Outputs

    private func write(
        _ grid: AnchorGrid, _ boxes: [Box], _ lines: [Box], _ labels: UnsafeMutableBufferPointer<Int8>,
        _ matches: UnsafeMutableBufferPointer<Int32>, positives: Int, negatives: Int, to outputs: Outputs
    ) {
        let f = Double(positives)
        let b = Double(negatives)
        let (ofPositive, ofNegative): (Double, Double) =
            positiveWeight < 0
            ? (1, 0)
            : variant == .published
                // Upstream's parentheses: w/F + 1.
                ? (positiveWeight / f + 1, (1 - positiveWeight) / b + 1)
                : (positiveWeight / (f + 1), (1 - positiveWeight) / (b + 1))
        for map in outputs.all { map.fill(with: map.type == .i32 ? -1 : 0) }
        grid.forEachInside { i, place, anchor in
            let label = labels[i]
            outputs.labels.write(Int32(label), at: place, channel: place.anchor)
            if !boxes.isEmpty, let targets = outputs.targets {
                let offsets = anchor.offsets(to: boxes[Int(matches[i])])
                for j in 0..<4 { targets.write(Float(offsets[j]), at: place, channel: place.anchor * 4 + j) }
            }
            let outside = label == 1 ? ofPositive : label == 0 ? ofNegative : 0
            for j in 0..<4 {
                if label == 1 {
                    outputs.inside?.write(Float(insideWeights[j]), at: place, channel: place.anchor * 4 + j)
                }
                outputs.outside?.write(Float(outside), at: place, channel: place.anchor * 4 + j)
            }
            if label == 1, let offset = sideOffset(of: anchor, lines) {
                outputs.sideTargets?.write(Float(offset), at: place, channel: place.anchor)
                outputs.sideMask?.write(1 as Float, at: place, channel: place.anchor)
            }
        }
    }

    /// From an anchor's centre to the nearer end of the line that it overlaps most, in widths; nil if that is too far.
    private func sideOffset(of anchor: Box, _ lines: [Box]) -> Double? {
        var most = 0.0
        var nearest: Box?
        for line in lines {
            let overlap = anchor.overlap(with: line)
            if overlap > most {
                most = overlap
                nearest = line
            }
        }
        guard let nearest else { return nil }
        let left = nearest.x1 - anchor.centreX
        let right = nearest.x2 - anchor.centreX
        let end = left.magnitude <= right.magnitude ? left : right
        return end.magnitude <= sideDistance ? end / anchor.width : nil
    }
}

/// Corners of whole pixels, the last ones included: (0, 0, 15, 15) is 16 wide.
struct Box {
    var x1, y1, x2, y2: Double

    var width: Double { x2 - x1 + 1 }
    var height: Double { y2 - y1 + 1 }
    var centreX: Double { x1 + 0.5 * width }
    var centreY: Double { y1 + 0.5 * height }

    /// Intersection over union, summed in upstream's order: labels hang on equal overlaps being equal numbers.
    func overlap(with other: Box) -> Double {
        let w = min(x2, other.x2) - max(x1, other.x1) + 1
        guard w > 0 else { return 0 }
        let h = min(y2, other.y2) - max(y1, other.y1) + 1
        guard h > 0 else { return 0 }
        return w * h / (width * height + other.width * other.height - w * h)
    }

    /// dx, dy, dw, dh of the way to another box.
    func offsets(to box: Box) -> SIMD4<Double> {
        SIMD4(
            (box.centreX - centreX) / width, (box.centreY - centreY) / height, logarithm(box.width / width),
            logarithm(box.height / height))
    }
}

/// Where the anchors are. Number (row·columns + column)·A + anchor.
struct AnchorGrid {
    struct Place {
        var row, column, anchor: Int
    }

    let rows, columns: Int
    /// At place (0, 0).
    private let base: [Box]
    private let stride: Double
    /// The columns whose anchors lie inside the image; whether they do vertically is asked of each.
    private let inside: Range<Int>
    private let imageHeight: Double

    init(
        stride: Int, width: Double, heights: [Double], rows: Int, columns: Int, imageHeight: Double, imageWidth: Double
    ) {
        let stride = Double(stride)
        let centre = (stride - 1) / 2
        // Upstream stores corners as integers, which cuts towards zero: −26.5 is −26.
        base = heights.map { height in
            Box(
                x1: (centre - width / 2).rounded(.towardZero), y1: (centre - height / 2).rounded(.towardZero),
                x2: (centre + width / 2).rounded(.towardZero), y2: (centre + height / 2).rounded(.towardZero))
        }
        (self.rows, self.columns, self.stride, self.imageHeight) = (rows, columns, stride, imageHeight)
        var first = 0
        while first < columns, stride * Double(first) + base[0].x1 < 0 { first += 1 }
        var end = first
        while end < columns, stride * Double(end) + base[0].x2 < imageWidth { end += 1 }
        inside = first..<end
    }

    /// No more than Int32 has, by what the labels' shape allows.
    var count: Int { rows * columns * base.count }

    private func box(_ place: Place) -> Box {
        var box = base[place.anchor]
        let x = stride * Double(place.column)
        let y = stride * Double(place.row)
        box.x1 += x
        box.x2 += x
        box.y1 += y
        box.y2 += y
        return box
    }

    private func isInside(_ box: Box) -> Bool { box.y1 >= 0 && box.y2 < imageHeight }

    /// In the order of their numbers.
    func forEachInside(_ body: (_ index: Int, _ place: Place, _ anchor: Box) -> Void) {
        for row in 0..<rows {
            for column in inside {
                for anchor in base.indices {
                    let place = Place(row: row, column: column, anchor: anchor)
                    let box = box(place)
                    if isInside(box) { body((row * columns + column) * base.count + anchor, place, box) }
                }
            }
        }
    }

    /// The anchors inside that overlap a box. All of a height overlap it vertically in the same rows, so that most of
    /// the image is never looked at.
    func forEachOverlap(with other: Box, _ body: (_ index: Int, _ overlap: Double) -> Void) {
        // The columns that share pixels with it.
        var first = inside.lowerBound
        while first < inside.upperBound, stride * Double(first) + base[0].x2 - other.x1 + 1 <= 0 { first += 1 }
        var end = first
        while end < inside.upperBound, other.x2 - (stride * Double(end) + base[0].x1) + 1 > 0 { end += 1 }
        guard first < end else { return }
        for row in 0..<rows {
            for anchor in base.indices {
                var box = box(Place(row: row, column: first, anchor: anchor))
                guard isInside(box), min(box.y2, other.y2) - max(box.y1, other.y1) + 1 > 0 else { continue }
                var index = (row * columns + first) * base.count + anchor
                for _ in first..<end {
                    let overlap = box.overlap(with: other)
                    if overlap > 0 { body(index, overlap) }
                    index += base.count
                    box.x1 += stride
                    box.x2 += stride
                }
            }
        }
    }
}

/// Memory for a number of things, if there is that much.
private struct Scratch<T: BitwiseCopyable> {
    let items: UnsafeMutableBufferPointer<T>

    init(_ count: Int) throws(LossError) {
        let bytes = max(count, 1) * MemoryLayout<T>.stride
        guard let memory = malloc(bytes) else {
            throw LossError(.outOfMemory, "no memory for \(bytes) bytes of scratch")
        }
        items = UnsafeMutableBufferPointer(start: memory.bindMemory(to: T.self, capacity: count), count: count)
    }

    func free() { CSystem.free(items.baseAddress) }
}

extension Tensor {
    fileprivate func write<T: BitwiseCopyable>(_ value: T, at place: AnchorGrid.Place, channel: Int) {
        let offset = place.row * strides[1] + place.column * strides[2] + channel * strides[3]
        (data + offset * type.bytes).storeBytes(of: value, as: T.self)
    }

    /// An int32 or float32 map of one image.
    fileprivate func fill(with value: Int32) {
        for row in 0..<shape[1] {
            for column in 0..<shape[2] {
                for channel in 0..<shape[3] {
                    let place = AnchorGrid.Place(row: row, column: column, anchor: 0)
                    if type == .i32 {
                        write(value, at: place, channel: channel)
                    } else {
                        write(Float(value), at: place, channel: channel)
                    }
                }
            }
        }
    }
}
