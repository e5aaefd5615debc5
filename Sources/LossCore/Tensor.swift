import KernelTable

/// Up to six extents or strides, without an allocation.
public struct Extents: Equatable, Sendable {
    private var values = InlineArray<6, Int>(repeating: 0)
    public private(set) var rank = 0

    public init() {}

    public init(_ values: [Int]) {
        for value in values { append(value) }
    }

    public mutating func append(_ value: Int) {
        values[rank] = value
        rank += 1
    }

    public subscript(i: Int) -> Int {
        get { values[i] }
        set { values[i] = newValue }
    }

    public static func == (a: Extents, b: Extents) -> Bool {
        guard a.rank == b.rank else { return false }
        for i in 0..<a.rank where a.values[i] != b.values[i] { return false }
        return true
    }

    /// As a sentence has it: (8, 3, 640, 640).
    var text: String {
        var text = "("
        for i in 0..<rank {
            text += i == 0 ? "" : ", "
            text += "\(values[i])"
        }
        return text + (rank == 1 ? ",)" : ")")
    }
}

public enum ElementType: Sendable {
    case f32, f64, f16, bf16, u8, i32, i64

    public var bytes: Int {
        switch self {
        case .u8: 1
        case .f16, .bf16: 2
        case .f32, .i32: 4
        case .f64, .i64: 8
        }
    }

    /// Whether predictions may have it (and gradients are then written in it).
    var isFloating: Bool {
        switch self {
        case .f32, .f64, .f16, .bf16: true
        case .u8, .i32, .i64: false
        }
    }

    var text: String {
        switch self {
        case .f32: "float32"
        case .f64: "float64"
        case .f16: "float16"
        case .bf16: "bfloat16"
        case .u8: "uint8"
        case .i32: "int32"
        case .i64: "int64"
        }
    }
}

/// A view of somebody else's memory, validated: indexing it inside its shape stays inside 63 bits of offset.
public struct Tensor: Sendable {
    /// The argument that it came as, for sentences.
    public let name: StaticString
    public let type: ElementType
    public private(set) var shape: Extents
    /// In elements.
    public private(set) var strides: Extents
    /// The number of elements.
    public private(set) var count: Int
    /// Whether they follow each other in memory without a gap, in logical order.
    private(set) var isOneRun: Bool
    /// How many bytes before the first element's start, and from there on, its elements take.
    private(set) var reach: (before: Int, after: Int)
    /// Where the address stands that `offset` bytes are added to: looked up at every use, so that a call can be prepared once
    /// and run on other memory. None: `offset` is the address.
    nonisolated(unsafe) private let place: UnsafePointer<UnsafeMutableRawPointer?>?
    private var offset: Int
    /// What this view is a channel of, for sentences: its index along dimension 1.
    private var channelIndex: Int?
    /// Likewise: that dimension 1 has become the last, and which entries of the last this view has.
    private var hasMovedChannels = false
    private var interleaved = (first: 0, step: 1)

    /// The first element. Of an empty tensor any address will do.
    var data: UnsafeMutableRawPointer {
        let base = place.map { Int(bitPattern: $0.pointee) } ?? 0
        return UnsafeMutableRawPointer(bitPattern: base &+ offset) ?? Tensor.nowhere
    }

    private static var nowhere: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: 64).unsafelyUnwrapped }

    /// Strides of nil mean dense row-major.
    public init(
        _ name: StaticString, data: UnsafeMutableRawPointer?, type: ElementType, shape: Extents, strides: Extents?
    ) throws(LossError) {
        try self.init(name, data, nil, type, shape, strides)
    }

    /// With the address in a place that outlives the tensor, and holds another one when it is next used.
    public init(
        _ name: StaticString, at place: UnsafePointer<UnsafeMutableRawPointer?>, type: ElementType, shape: Extents,
        strides: Extents?
    ) throws(LossError) {
        try self.init(name, place.pointee, place, type, shape, strides)
    }

    private init(
        _ name: StaticString, _ data: UnsafeMutableRawPointer?, _ place: UnsafePointer<UnsafeMutableRawPointer?>?,
        _ type: ElementType, _ shape: Extents, _ strides: Extents?
    ) throws(LossError) {
        var count = 1
        var isEmpty = false
        for i in 0..<shape.rank {
            guard shape[i] >= 0 else {
                throw LossError(.shape, "\(name): expected extents of at least 0, got shape \(shape.text)")
            }
            isEmpty = isEmpty || shape[i] == 0
            let (product, overflow) = count.multipliedReportingOverflow(by: max(shape[i], 1))
            guard !overflow, product <= Int.max / 16 else {
                throw LossError(.shape, "\(name): shape \(shape.text) has more elements than memory can hold")
            }
            count = product
        }
        if isEmpty { count = 0 }

        var actual = Extents()
        if let strides {
            var reach = 0
            for i in 0..<shape.rank {
                let (span, overflow) = strides[i].multipliedReportingOverflow(by: max(shape[i] - 1, 0))
                let (total, overflow2) = reach.addingReportingOverflow(span == .min ? .max : abs(span))
                guard !overflow, !overflow2, total <= Int.max / 16 else {
                    throw LossError(.layout, "\(name): strides \(strides.text) reach outside the address space")
                }
                reach = total
                actual.append(strides[i])
            }
        } else {
            actual = shape
            var stride = 1
            for i in (0..<shape.rank).reversed() {
                actual[i] = stride
                stride *= max(shape[i], 1)
            }
        }
        guard data != nil || count == 0 else {
            throw LossError(.nullPointer, "\(name): data is NULL, but shape \(shape.text) has elements")
        }
        self.name = name
        self.type = type
        self.shape = shape
        self.strides = actual
        self.count = count
        self.place = place
        offset = place == nil ? Int(bitPattern: data) : 0
        (isOneRun, reach) = (true, (0, 0))
        measure()
    }

    /// After the dimensions have changed.
    private mutating func measure() {
        var stride = 1
        isOneRun = true
        reach = (0, type.bytes)
        for i in (0..<shape.rank).reversed() where shape[i] != 1 {
            isOneRun = isOneRun && strides[i] == stride
            stride &*= shape[i]
            let bytes = strides[i] &* (shape[i] &- 1) &* type.bytes
            if bytes < 0 { reach.before &-= bytes } else { reach.after &+= bytes }
        }
    }

    /// N×1×H×W as N×H×W: prediction heads keep a channel that label makers leave out.
    func droppingUnitChannel() -> Tensor {
        guard shape.rank == 4, shape[1] == 1 else { return self }
        return droppingDimension(1)
    }

    /// One channel of N×C×…, as N×….
    public func channel(_ index: Int) -> Tensor {
        var copy = droppingDimension(1)
        copy.count = shape[1] == 0 ? 0 : count / shape[1]
        if copy.count > 0 { copy.offset += index * strides[1] * type.bytes }
        copy.channelIndex = index
        return copy
    }

    /// N×C×H×W as N×H×W×C.
    func channelsLast() -> Tensor {
        var copy = droppingDimension(1)
        copy.shape.append(shape[1])
        copy.strides.append(strides[1])
        copy.hasMovedChannels = true
        copy.measure()
        return copy
    }

    /// N×…×C as N×C×….
    public func channelsFirst() -> Tensor {
        let last = shape.rank - 1
        var copy = self
        for i in (1...last).reversed() {
            copy.shape[i] = i == 1 ? shape[last] : shape[i - 1]
            copy.strides[i] = i == 1 ? strides[last] : strides[i - 1]
        }
        copy.measure()
        return copy
    }

    /// Of the last dimension entries `first`, `first + step`, …: one of `step` numbers that lie side by side.
    func every(_ step: Int, from first: Int) -> Tensor {
        let last = shape.rank - 1
        var copy = self
        copy.shape[last] = shape[last] / step
        copy.count = count / step
        // An extent of 0 allows any stride, and one of 1 steps nowhere.
        copy.strides[last] = strides[last] &* step
        if copy.count > 0 { copy.offset += first * strides[last] * type.bytes }
        copy.interleaved = (first, step)
        copy.measure()
        return copy
    }

    /// The labels N×H×W or N×1×H×W of a prediction N×C×H×W, cut to its height and width around the centre.
    func labels(of pred: Tensor) throws(LossError) -> Tensor {
        var labels = droppingUnitChannel()
        let (height, width) = (pred.shape[2], pred.shape[3])
        let isMap = labels.shape.rank == 3 && labels.shape[0] == pred.shape[0]
        let surplus = isMap ? (labels.shape[1] - height, labels.shape[2] - width) : (-1, -1)
        guard surplus == (0, 0) || (surplus.0 > 0 && surplus.1 > 0 && surplus.0 % 2 == 0 && surplus.1 % 2 == 0) else {
            throw LossError(
                .shape,
                "\(name): expected shape \(Extents([pred.shape[0], height, width]).text), or height and width both larger "
                    + "by an even number (their centre counts), got \(shape.text)")
        }
        guard !type.isFloating else {
            throw LossError(.elementType, "\(name): labels are expected as uint8, int32 or int64, got \(type.text)")
        }
        if labels.count > 0, surplus != (0, 0) {
            labels.offset += (surplus.0 / 2 * labels.strides[1] + surplus.1 / 2 * labels.strides[2]) * type.bytes
        }
        labels.shape = Extents([pred.shape[0], height, width])
        labels.count = pred.shape[0] * height * width
        labels.measure()
        return labels
    }

    private func droppingDimension(_ dimension: Int) -> Tensor {
        var copy = self
        copy.shape = Extents()
        copy.strides = Extents()
        for i in 0..<shape.rank where i != dimension {
            copy.shape.append(shape[i])
            copy.strides.append(strides[i])
        }
        copy.measure()
        return copy
    }

    /// Where logical element `index` is, in elements.
    func offset(of index: Int) -> Int {
        var rest = index
        var offset = 0
        for i in (0..<shape.rank).reversed() where shape[i] > 0 {
            offset += (rest % shape[i]) * strides[i]
            rest /= shape[i]
        }
        return offset
    }

    /// The subscripts of logical element `index`, as a sentence has them.
    func subscripts(of index: Int) -> String {
        var rest = index
        var subscripts = shape
        for i in (0..<shape.rank).reversed() {
            subscripts[i] = rest % shape[i]
            rest /= shape[i]
        }
        let last = shape.rank - 1
        if last >= 0 { subscripts[last] = subscripts[last] * interleaved.step + interleaved.first }
        if hasMovedChannels { subscripts = Extents([subscripts[0], subscripts[3], subscripts[1], subscripts[2]]) }
        guard let channelIndex else { return subscripts.text }
        var whole = Extents()
        for i in 0..<shape.rank {
            if i == 1 { whole.append(channelIndex) }
            whole.append(subscripts[i])
        }
        if shape.rank == 1 { whole.append(channelIndex) }
        return whole.text
    }
}

// What losses ask of their arguments.
extension Tensor {
    func requireFloating() throws(LossError) {
        guard type.isFloating else {
            throw LossError(
                .elementType, "\(name): expected element type float32, float64, float16 or bfloat16, got \(type.text)")
        }
    }

    func requireType(of other: Tensor) throws(LossError) {
        guard type == other.type else {
            throw LossError(
                .elementType, "\(name): expected element type \(other.type.text) like \(other.name), got \(type.text)")
        }
    }

    func requireShape(of other: Tensor) throws(LossError) {
        guard shape == other.shape else {
            throw LossError(
                .shape, "\(name): expected shape \(other.shape.text) like \(other.name), got \(shape.text)")
        }
    }

    func requireShape(_ expected: Extents, _ meaning: StaticString) throws(LossError) {
        guard shape == expected else {
            throw LossError(.shape, "\(name): expected shape \(expected.text), \(meaning), got \(shape.text)")
        }
    }

    func requireRank(_ rank: Int, _ meaning: StaticString) throws(LossError) {
        guard shape.rank == rank else {
            throw LossError(.rank, "\(name): expected rank \(rank), \(meaning), got shape \(shape.text)")
        }
    }
}

/// A tensor's dimensions with unit ones dropped and neighbours merged, in logical order: what a walk needs.
struct Layout {
    private(set) var shape = Extents()
    private(set) var strides = Extents()

    init(_ tensor: Tensor) {
        if tensor.isOneRun {
            shape.append(tensor.count)
            strides.append(1)
            return
        }
        for i in 0..<tensor.shape.rank where tensor.shape[i] != 1 {
            let last = shape.rank - 1
            if last >= 0, strides[last] == tensor.strides[i] * tensor.shape[i] {
                shape[last] *= tensor.shape[i]
                strides[last] = tensor.strides[i]
            } else {
                shape.append(tensor.shape[i])
                strides.append(tensor.strides[i])
            }
        }
    }
}
