import CSystem
import KernelTable

/// Cross-entropy and overlap of logits with a mask, pixels weighted by how much they differ from their surroundings.
///
///     w = 1 + gain·|mean of y over a kernelSize² window − y|      p = σ(x)    ℓ = (1−y)·softplus(x) + y·softplus(−x)
///     U = 1 − (Σ pyw + s)/(Σ (p+y−py)w + s) = (FP + FN)/(TP + FP + FN + s)   of each plane (n,c),  s = smooth
///     published   L = mean of ℓ over the whole tensor + mean of U over the planes
///     paper       L = mean over the planes of Σ ℓw/Σ w + U
///     uacanet     the same with U = Σ uw/Σ w of u = (p(1−y) + (1−p)y)/(p + y − py + s), pixel by pixel
///
/// Outside the image the window holds zeros, which count in its divisor unless `countsPadding` is false: an object at the
/// border weighs more. Several predictions of one mask (deep supervision) share its weights; L is the sum of their losses.
/// The published cross-entropy is plain because `reduce="none"`, a string, is true, and so means a scalar mean.
/// Source: Fan et al. 2020 (PraNet, arXiv 2006.11392), section 2.4, after Wei et al. 2020 (F3Net, arXiv 1911.11445), whose
/// code is the published form; Kim et al. 2021 (UACANet, arXiv 2107.02368).
public struct Structure: Sendable {
    public enum Variant: Int32, Sendable {
        case published = 0
        case paper = 1
        case uacanet = 2
    }

    public var variant: Variant
    public var kernelSize: Int
    public var gain: Double
    public var smooth: Double
    public var countsPadding: Bool

    public init(
        variant: Variant, kernelSize: Int, gain: Double, smooth: Double, countsPadding: Bool
    ) throws(LossError) {
        guard kernelSize >= 1, kernelSize % 2 == 1 else {
            throw LossError(.option, "kernel_size: expected an odd number of at least 1, got \(kernelSize)")
        }
        // Weights of at least 1 are what no quotient here divides by 0 with.
        for (name, value) in [("gain", gain), ("smooth", smooth)] as [(StaticString, Double)] {
            guard value >= 0, value.isFinite else {
                throw LossError(.option, "\(name): expected a finite number of at least 0, got \(value)")
            }
        }
        (self.variant, self.kernelSize, self.gain, self.smooth) = (variant, kernelSize, gain, smooth)
        self.countsPadding = countsPadding
    }
}

/// The loss of one prediction, or of several, against one mask.
public struct StructureLoss: ItemLoss {
    let term: Structure
    let levels: [Tensor]
    let mask: Tensor
    let execution: Execution
    private let channels, height, width: Int

    public init(
        _ term: Structure, levels: [Tensor], mask: Tensor, _ execution: Execution
    ) throws(LossError) {
        guard let first = levels.first?.droppingUnitChannel() else {
            throw LossError(.option, "preds: expected at least one prediction")
        }
        let rank = first.shape.rank
        guard rank == 3 || rank == 4 else {
            throw LossError(.rank, "\(first.name): expected N x C x H x W or N x H x W, got shape \(first.shape.text)")
        }
        (self.term, self.execution) = (term, execution)
        self.levels = levels.map { $0.droppingUnitChannel() }
        self.mask = mask.droppingUnitChannel()
        channels = rank == 4 ? first.shape[1] : 1
        (height, width) = (first.shape[rank - 2], first.shape[rank - 1])
        try requireArguments()
    }

    /// TP, FP, FN and Σ ℓ (paper: Σ ℓw) of a level; uacanet: Σ uw, Σ ℓw, 0, 0.
    public static let levelSums = 4
    /// Σ w (published: 0), then those of each level.
    private var planeSums: Int { 1 + levels.count * Self.levelSums }
    private var planes: Int { levels[0].shape[0] * channels }

    public var predictions: [Tensor] { levels }
    public var constants: [Tensor] { [mask] }
    public var statisticsCount: Int { planes * planeSums }
    public var itemsShape: Extents { Extents([levels[0].shape[0], channels]) }

    // MARK: Weights

    /// Columns and rows that a window reaches beyond its middle, as far as there are any.
    private var radius: Int { min(term.kernelSize / 2, max(width - 1, 0)) }
    private var reach: Int { min(term.kernelSize / 2, max(height - 1, 0)) }

    // Temporaries, of 32 rows at least: what a window is summed in; a row of weights, and of ones; widths of windows.
    private static let temporaries = 3

    public var plan: Plan {
        // The mask comes last: its rows are those of the weights.
        let operands = levels.map { Operand($0) } + [Operand(mask, halo: reach)]
        return Plan(
            sweep: Sweep(
                execution, inputs: operands, like: levels[0], groups: planes,
                rows: Rows(height: height, width: width, least: 2 * reach), sums: planeSums,
                temporaries: Self.temporaries))
    }

    /// Runs `body(row, y, w)` on every row of a strip. The sums down the columns start anew in each strip, of zeros and ones
    /// they are exact, in float32 too, and what is not a number stays in its plane.
    private func eachRow(_ b: Block, _ body: (Int, UnsafeRawPointer, UnsafeRawPointer) -> Void) {
        guard let geometry = b.geometry else { return }
        let n = geometry.pitch
        let kernels = b.kernels
        let mask = b.input(levels.count)
        let loaded = b.rows(withHalo: reach)
        func y(_ row: Int) -> UnsafeRawPointer { b.row(row - loaded.lowerBound, of: mask) }
        // A window of ones must be a number of float32, all of which are whole up to there; float64 is as narrow as it gets.
        let isNarrow =
            b.elementBytes == 4 && term.countsPadding && term.kernelSize < 1 << 12
            && loaded.allSatisfy { kernels.is_binary(y($0), n) }

        // Each in its zeros, as the kernels want them.
        let columns = b.temporary(0).assumingMemoryBound(to: Double.self) + 16
        let fours = columns + n + 48 + 16
        let sixteens = fours + n + 32 + 2 * radius + 32
        memset(b.temporary(0), 0, UnsafeMutableRawPointer(sixteens + n + radius + 16) - b.temporary(0))
        let weights = b.row(0, of: b.temporary(1))

        var widths: UnsafeMutablePointer<Double>?
        if !term.countsPadding {
            let counts = b.temporary(2).assumingMemoryBound(to: Double.self)
            for column in 0..<n {
                counts[column] = Double(min(column + radius, width - 1) - max(column - radius, 0) + 1)
            }
            widths = counts
        }

        for row in b.rows.lowerBound..<b.rows.upperBound {
            if row == b.rows.lowerBound {
                for entering in max(0, row - reach)...min(height - 1, row + reach) {
                    kernels.column_sums(columns, y(entering), nil, n, isNarrow)
                }
            } else {
                kernels.column_sums(
                    columns, row + reach < height ? y(row + reach) : nil, row - reach > 0 ? y(row - reach - 1) : nil, n,
                    isNarrow)
            }
            let rows = min(height - 1, row + reach) - max(0, row - reach) + 1
            let divisor = term.countsPadding ? Double(term.kernelSize) * Double(term.kernelSize) : Double(rows)
            kernels.window_weights(
                columns, fours, sixteens, radius, y(row), widths, divisor, term.gain, width, weights, n, isNarrow)
            body(row - b.rows.lowerBound, y(row), UnsafeRawPointer(weights))
        }
    }

    // MARK: Statistics

    public func accumulate(_ b: Block) {
        guard let geometry = b.geometry else { return }
        let n = geometry.pitch
        let kernels = b.kernels
        // Columns that pad a row weigh nothing.
        var counted: UnsafeRawPointer?
        if n > width {
            let ones = b.row(1, of: b.temporary(1))
            kernels.ones(width, ones, n)
            counted = UnsafeRawPointer(ones)
        }
        eachRow(b) { row, y, w in
            if term.variant != .published { kernels.sum(w, n, b.sums(0)) }
            for level in 0..<levels.count {
                let x = b.row(row, of: b.input(level))
                let sums = b.sums(1 + level * Self.levelSums)
                switch term.variant {
                case .published: kernels.structure(x, y, w, counted, n, sums)
                case .paper: kernels.structure(x, y, w, w, n, sums)
                case .uacanet: kernels.structure_pixels(x, y, w, term.smooth, n, sums)
                }
            }
        }
    }

    /// Each plane's by itself.
    public func collect(_ sums: [Double], groups: Int) -> [Double] { sums }

    // MARK: Parts

    public struct Level: Sendable {
        public var loss: Double
        public var crossEntropy: Double
        public var overlap: Double
    }

    public struct Parts: ItemParts {
        public var loss: Double
        public var crossEntropy: Double
        public var overlap: Double
        /// Planes that were averaged.
        public var count: Double
        public var levels: [Level]
        /// Of each plane, all levels together.
        public var items: [Double]
        public var factors: [Double] { didSet { allFactors = factors.reduce(0, +) } }
        fileprivate var allFactors: Double
        fileprivate var coefficients: [Coefficients]
    }

    /// dU/dp = w·(a·y + b), and 1/Σ w.
    fileprivate struct Coefficients {
        var a = 0.0
        var b = 0.0
        var share = 0.0
    }

    public func parts(_ s: [Double]) -> Parts {
        let planes = planes
        let elements = Double(levels[0].count)
        var parts = Parts(
            loss: 0, crossEntropy: 0, overlap: 0, count: Double(planes), levels: [],
            items: [Double](repeating: 0, count: planes),
            factors: [Double](repeating: planes == 0 ? 0 : 1 / Double(planes), count: planes), allFactors: 1,
            coefficients: [Coefficients](repeating: Coefficients(), count: planes * levels.count))
        for level in 0..<levels.count {
            var plain = 0.0
            for plane in 0..<planes { plain += s[plane * planeSums + 1 + level * Self.levelSums + 3] }
            plain = elements == 0 ? 0 : plain / elements

            var sum = Level(loss: 0, crossEntropy: 0, overlap: 0)
            for plane in 0..<planes {
                let at = plane * planeSums + 1 + level * Self.levelSums
                let share = s[plane * planeSums] == 0 ? 0 : 1 / s[plane * planeSums]
                var c = Coefficients(share: share)
                let weighted = s[at + (term.variant == .uacanet ? 1 : 3)] * share
                let crossEntropy = term.variant == .published ? plain : weighted
                var overlap = s[at] * share
                if term.variant != .uacanet {
                    // (FP + FN)/D falls by 1/D where y = 1, and by (FP + FN)/D² for what else D counts.
                    let wrong = s[at + 1] + s[at + 2]
                    let divisor = s[at] + wrong + term.smooth
                    overlap = divisor == 0 ? 0 : wrong / divisor
                    c.b = divisor == 0 ? 0 : (1 - overlap) / divisor
                    c.a = divisor == 0 ? 0 : -1 / divisor - c.b
                }
                parts.items[plane] += crossEntropy + overlap
                parts.coefficients[plane * levels.count + level] = c
                sum.crossEntropy += crossEntropy
                sum.overlap += overlap
            }
            if planes > 0 {
                sum.crossEntropy = term.variant == .published ? plain : sum.crossEntropy / Double(planes)
                sum.overlap /= Double(planes)
            }
            sum.loss = sum.crossEntropy + sum.overlap
            parts.levels.append(sum)
            parts.loss += sum.loss
            parts.crossEntropy += sum.crossEntropy
            parts.overlap += sum.overlap
        }
        return parts
    }

    // MARK: Gradient

    public func gradient(_ b: Block, _ parts: Parts, times factor: Double) {
        guard let geometry = b.geometry else { return }
        let n = geometry.pitch
        let kernels = b.kernels
        let elements = Double(levels[0].count)
        let own = factor * parts.factors[b.group]
        let plain = factor * parts.allFactors / elements
        eachRow(b) { row, y, w in
            for level in 0..<levels.count {
                let x = b.row(row, of: b.input(level))
                let out = b.row(row, of: b.output(level))
                let c = parts.coefficients[b.group * levels.count + level]
                switch term.variant {
                case .published: kernels.structure_gradient(x, y, w, own * c.a, own * c.b, plain, 0, out, n)
                case .paper: kernels.structure_gradient(x, y, w, own * c.a, own * c.b, 0, own * c.share, out, n)
                case .uacanet: kernels.structure_pixels_gradient(x, y, w, term.smooth, own * c.share, out, n)
                }
            }
        }
    }
}
