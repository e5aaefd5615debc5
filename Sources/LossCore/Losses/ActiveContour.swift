import CSystem
import KernelTable

/// Length of a prediction's contour, and how far its regions are from the target.
///
///     a, b = differences of p down and across    S = √(a² + b² + 1e-8)
///     length = mean of S    region = mean of p·(y − c_in)² + (1 − p)·(y − c_out)²    L = weight·length + regionWeight·region
///     published   a = p[i+2,j] − p[i+1,j], b = p[i,j+2] − p[i,j+1]   of (H−2)·(W−2) pixels: two different ones
///     aligned     a = p[i+1,j] − p[i,j],   b = p[i,j+1] − p[i,j]     of (H−1)·(W−1)
///
/// A map that is too small for differences has length 0. p is taken as it comes, outside [0, 1] too; from logits p = σ(x).
/// Source: Chen et al. 2019 (CVPR, Learning Active Contour Models for Medical Image Segmentation), equations 11 and 12,
/// means for sums; the published form is the PyTorch port's, which weighs the length.
public struct ActiveContour: Sendable {
    public enum Variant: Int32, Sendable {
        case published = 0
        case aligned = 1
    }

    public var variant: Variant
    public var weight: Double
    public var regionWeight: Double
    public var inner: Double
    public var outer: Double
    public var fromLogits: Bool

    public init(
        variant: Variant, weight: Double, regionWeight: Double, inner: Double, outer: Double, fromLogits: Bool
    ) throws(LossError) {
        try requireFinite("weight", weight)
        try requireFinite("region_weight", regionWeight)
        try requireFinite("c_in", inner)
        try requireFinite("c_out", outer)
        (self.variant, self.weight, self.regionWeight) = (variant, weight, regionWeight)
        (self.inner, self.outer, self.fromLogits) = (inner, outer, fromLogits)
    }

    /// Rows and columns that a difference reaches.
    var reach: Int { variant == .published ? 2 : 1 }
}

public struct ActiveContourLoss: Loss {
    let term: ActiveContour
    let pred, target: Tensor
    let execution: Execution
    private let planes, height, width: Int

    public init(
        _ term: ActiveContour, pred: Tensor, target: Tensor, _ execution: Execution
    ) throws(LossError) {
        (self.term, self.execution) = (term, execution)
        (self.pred, self.target) = (pred.droppingUnitChannel(), target.droppingUnitChannel())
        let shape = self.pred.shape
        guard shape.rank == 3 || shape.rank == 4 else {
            throw LossError(.rank, "\(pred.name): expected N x C x H x W or N x H x W, got shape \(shape.text)")
        }
        planes = shape.rank == 4 ? shape[0] * shape[1] : shape[0]
        (height, width) = (shape[shape.rank - 2], shape[shape.rank - 1])
        try requireArguments()
    }

    public struct Parts: Sendable {
        public var loss: Double
        public var length: Double
        public var region: Double
        /// Differences, and pixels, that were averaged.
        public var lengthCount: Double
        public var count: Double
    }

    /// Σ S and how many, Σ of the region and how many.
    public static let statistics = 4
    /// Σ S, Σ of the region, and what other strips add up.
    private static let sums = 3

    public var predictions: [Tensor] { [pred] }
    public var constants: [Tensor] { [target] }
    public var statisticsCount: Int { Self.statistics }
    public var worksInPlace: Bool { false }

    private var reach: Int { term.reach }
    /// Rows and columns that have differences.
    private var steps: (rows: Int, columns: Int) {
        height > reach && width > reach ? (height - reach, width - reach) : (0, 0)
    }

    // Temporaries, of 32 rows at least: rows of slopes; p and 1 − p, where they come as logits.
    public var plan: Plan {
        Plan(
            sweep: Sweep(
                execution, inputs: [Operand(pred, halo: reach), Operand(target)], like: pred, groups: planes,
                rows: Rows(height: height, width: width, least: 8), sums: Self.sums,
                temporaries: term.fromLogits ? 3 : 1))
    }

    /// A strip and its halo, from the image row `first` on: p, and of logits also 1 − p and the logits.
    private struct Map {
        var first: Int
        var p: UnsafeRawPointer
        var q, x: UnsafeRawPointer?
    }

    private func strip(_ b: Block) -> Map {
        let loaded = b.rows(withHalo: reach)
        guard term.fromLogits, let geometry = b.geometry else { return Map(first: loaded.lowerBound, p: b.input(0)) }
        let count = loaded.count * geometry.pitch
        b.kernels.sigmoids(b.input(0), b.temporary(1), b.temporary(2), count)
        return Map(
            first: loaded.lowerBound, p: UnsafeRawPointer(b.temporary(1)), q: UnsafeRawPointer(b.temporary(2)),
            x: b.input(0))
    }

    // MARK: Statistics

    public func accumulate(_ b: Block) {
        guard let geometry = b.geometry else { return }
        let n = geometry.pitch
        let map = strip(b)
        for row in b.rows {
            let i = row - map.first
            let p = b.row(i, of: map.p)
            let q = map.q.map { b.row(i, of: $0) }
            // Differences end inside the plane: a row that has them is never its last.
            if row < steps.rows {
                let x = map.x.map { b.row(i, of: $0) }
                b.kernels.contour_length(p, q, x, reach, n, steps.columns, n, b.sums(0))
            }
            addRegion(b, map, row)
        }
    }

    private func addRegion(_ b: Block, _ map: Map, _ row: Int) {
        let i = row - map.first
        let y = b.row(row - b.rows.lowerBound, of: b.input(1))
        b.kernels.contour_region(
            b.row(i, of: map.p), map.q.map { b.row(i, of: $0) }, y, term.inner, term.outer, width, b.rowPitch, b.sums(1)
        )
    }

    private var lengthCount: Double { Double(planes) * Double(steps.rows) * Double(steps.columns) }

    public func collect(_ sums: [Double], groups: Int) -> [Double] {
        var length = 0.0
        var region = 0.0
        for group in 0..<groups {
            length += sums[group * Self.sums]
            region += sums[group * Self.sums + 1]
        }
        return [length, lengthCount, region, Double(pred.count)]
    }

    public func parts(_ s: [Double]) -> Parts {
        let length = s[1] == 0 ? 0 : s[0] / s[1]
        let region = s[3] == 0 ? 0 : s[2] / s[3]
        return Parts(
            loss: term.weight * length + term.regionWeight * region, length: length, region: region, lengthCount: s[1],
            count: s[3])
    }

    // MARK: Gradient

    public var partsOfGradient: Parts? {
        Parts(loss: 0, length: 0, region: 0, lengthCount: lengthCount, count: Double(pred.count))
    }

    public func gradient(_ b: Block, _ parts: Parts, times factor: Double) {
        // A sweep has room for one sum, even if it has none.
        gradient(b, strip(b), parts, times: factor, lengths: b.sums(0), others: b.sums(0)) { _ in }
    }

    public func accumulate(_ b: Block, writing parts: Parts, times factor: Double) {
        let map = strip(b)
        gradient(b, map, parts, times: factor, lengths: b.sums(0), others: b.sums(2)) { addRegion(b, map, $0) }
    }

    /// Adds Σ S of the strip's rows to `lengths`, and of those above, which belong to another strip, to `others`.
    private func gradient(
        _ b: Block, _ map: Map, _ parts: Parts, times factor: Double, lengths: UnsafeMutablePointer<Double>,
        others: UnsafeMutablePointer<Double>, _ each: (Int) -> Void
    ) {
        guard let geometry = b.geometry else { return }
        let n = geometry.pitch
        let kernels = b.kernels
        let c = parts.lengthCount == 0 ? 0 : factor * term.weight / parts.lengthCount
        let d = factor * term.regionWeight / parts.count

        // Slopes down of the last three rows, and across of the newest, with zeros to its left; row 3 is none.
        let slopes = b.temporary(0)
        let across = b.row(5, of: slopes)
        memset(slopes, 0, b.row(6, of: slopes) - slopes)
        func down(_ row: Int) -> UnsafeMutableRawPointer {
            b.row((0..<steps.rows).contains(row) ? row % 3 : 3, of: slopes)
        }
        func step(_ row: Int, _ sums: UnsafeMutablePointer<Double>) {
            guard (0..<steps.rows).contains(row) else {
                memset(across, 0, b.row(1, of: across) - across)
                return
            }
            let i = row - map.first
            kernels.contour_slopes(
                b.row(i, of: map.p), map.q.map { b.row(i, of: $0) }, map.x.map { b.row(i, of: $0) }, reach, n,
                steps.columns, down(row), across, n, sums)
        }

        for row in b.rows.lowerBound - reach..<b.rows.lowerBound { step(row, others) }
        for row in b.rows {
            step(row, lengths)
            let i = row - map.first
            let own = row - b.rows.lowerBound
            kernels.contour_gradient(
                down(row - reach), down(row - reach + 1), across - reach * b.elementBytes,
                across - (reach - 1) * b.elementBytes, b.row(own, of: b.input(1)),
                map.q.map { _ in b.row(i, of: map.p) }, map.q.map { b.row(i, of: $0) }, term.inner, term.outer, c, d,
                b.row(own, of: b.output(0)), n)
            each(row)
        }
    }
}
