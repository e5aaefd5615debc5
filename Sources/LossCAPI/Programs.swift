import CLosses
import LossCore

// Any loss, found by its name: arrays in, a value and a few parts out, gradients back.

/// What a program calls: one row for each loss, which stands in the loss's file.
struct Entry: Sendable {
    let name: StaticString
    /// The gradients' names: one for each prediction, or one for each level that a list may have.
    let gradients: [StaticString]
    /// Tensors after the predictions.
    let constants: Int
    var isList = false
    let bind: @Sendable (Parameters, Options, UnsafePointer<segloss_execution>) throws(LossError) -> Call

    init(
        _ name: StaticString, gradients: [StaticString], constants: Int, isList: Bool = false,
        _ bind: @escaping @Sendable (Parameters, Options, UnsafePointer<segloss_execution>) throws(LossError) -> Call
    ) {
        (self.name, self.gradients, self.constants, self.isList) = (name, gradients, constants, isList)
        self.bind = bind
    }

    static let all: [Entry] = [
        .maskDice, .maskL1, .balance, .balanceMap, .db, .dbStep, .l1BalanceCE, .dice, .diceBCE, .iou, .tversky,
        .focalTversky, .bce, .focal, .smoothL1, .crossEntropy, .ctpn, .structure, .activeContour, .boundary,
    ]
}

/// The tensors of a loss's parameters; nil where there is none.
struct Parameters {
    let tensors: UnsafePointer<segloss_tensor>
    let arrays: UnsafePointer<segloss_program_tensor>
    let count: Int

    subscript(i: Int) -> UnsafePointer<segloss_tensor>? { arrays[i].array < 0 ? nil : tensors + i }
}

/// The options struct, of whatever type a loss takes.
struct Options {
    let address: UnsafeRawPointer

    func bound<T>() -> UnsafePointer<T> { address.assumingMemoryBound(to: T.self) }
}

/// A loss with its arguments, its type forgotten.
struct Call {
    var statisticsCount = 0
    var partsCount = 0
    /// What gives the type of the value.
    let prediction: Tensor
    var itemsShape: Extents?
    var itemsAreElements = false
    var statistics: () throws(LossError) -> [Double] = { [] }
    /// Statistics, upstream factor, gradients → parts.
    var finish: ([Double], Double, [Tensor?]) throws(LossError) -> [Double] = { (_, _, _) in [] }
    /// Upstream factors, values, gradients.
    var items: ((Tensor?, Tensor?, [Tensor?]) throws(LossError) -> Void)?

    /// A loss, and how its parts become a C struct of doubles behind its size.
    init<L: Loss, P: BitwiseCopyable>(
        _ loss: L, extraParts: Int = 0, _ write: @escaping (L.Parts, UnsafeMutablePointer<P>?) -> Void,
        extra: @escaping (L.Parts) -> [Double] = { _ in [] }
    ) {
        let count = MemoryLayout<P>.size / 8 - 1
        statisticsCount = loss.statisticsCount
        partsCount = count + extraParts
        prediction = loss.predictions[0]
        statistics = { () throws(LossError) in try loss.statistics() }
        finish = { (statistics, gradOutput, gradients) throws(LossError) in
            let parts = try loss.finish(statistics, gradOutput: gradOutput, gradients: gradients)
            return withUnsafeTemporaryAllocation(byteCount: MemoryLayout<P>.size, alignment: 8) { memory in
                write(parts, memory.baseAddress?.assumingMemoryBound(to: P.self))
                return (1...count).map { memory.load(fromByteOffset: $0 * 8, as: Double.self) } + extra(parts)
            }
        }
    }

    /// One that is reduced from items.
    init<L: ItemLoss, P: BitwiseCopyable>(
        itemsOf loss: L, extraParts: Int = 0, _ write: @escaping (L.Parts, UnsafeMutablePointer<P>?) -> Void,
        extra: @escaping (L.Parts) -> [Double] = { _ in [] }
    ) {
        self.init(loss, extraParts: extraParts, write, extra: extra)
        (itemsShape, itemsAreElements) = (loss.itemsShape, loss.itemsAreElements)
        items = { (gradOutput, values, gradients) throws(LossError) in
            try loss.items(gradOutput: gradOutput, values: values, gradients: gradients)
        }
    }

    /// A map of the prediction's shape, which has nothing to add up.
    init(
        mapLike prediction: Tensor,
        _ items: @escaping (Tensor?, Tensor?, [Tensor?]) throws(LossError) -> Void
    ) {
        self.prediction = prediction
        (itemsShape, itemsAreElements) = (prediction.shape, true)
        self.items = items
    }

    /// Statistics of one batch, of those of several one after the other.
    func added(_ statistics: UnsafePointer<Double>?, _ length: Int64) throws(LossError) -> [Double] {
        let count = statisticsCount
        guard let statistics else { throw LossError(.nullPointer, "statistics: expected an array, got NULL") }
        guard count > 0 ? length > 0 && Int(length) % count == 0 : length == 0 else {
            throw LossError(.statistics, "statistics: expected \(count) entries, or several times that, got \(length)")
        }
        var sum = Array(UnsafeBufferPointer(start: statistics, count: count))
        for start in stride(from: count, to: Int(length), by: max(count, 1)) {
            for i in 0..<count { sum[i] += statistics[start + i] }
        }
        return sum
    }
}

/// A program's bytes, checked and copied to aligned memory, and the tensors of its parameters.
private struct Program {
    let header: segloss_program
    let entry: Entry
    let parameters: Parameters
    let options: Options
    /// The arrays' tensors are views of these.
    let base: UnsafeMutableRawPointer

    static func refusal(_ what: String) -> LossError { LossError(.unsupported, "program: \(what)") }

    /// `slots` has room for every tensor of the program, `base` for its bytes.
    init(
        _ base: UnsafeMutableRawPointer, size: Int, _ slots: UnsafeMutablePointer<segloss_tensor>,
        _ arrays: UnsafePointer<segloss_tensor>?, _ count: Int32
    ) throws(LossError) {
        let header = base.load(as: segloss_program.self)
        let name = withUnsafeBytes(of: header.loss) { Array($0.prefix { $0 != 0 }) }
        guard
            let entry = Entry.all.first(where: { entry in
                name.elementsEqual(
                    UnsafeBufferPointer(start: entry.name.utf8Start, count: entry.name.utf8CodeUnitCount))
            })
        else { throw Self.refusal("loss \(String(decoding: name, as: UTF8.self)) is unknown") }
        let predictions = Int(header.tensors) - entry.constants
        guard
            entry.isList
                ? (1...entry.gradients.count).contains(predictions) : predictions == entry.gradients.count
        else { throw Self.refusal("\(entry.name) does not take \(header.tensors) tensors") }
        guard header.arrays == count, let arrays else {
            throw LossError(.option, "count: expected \(header.arrays) arrays, got \(count)")
        }
        guard (0...count).contains(header.predictions) else { throw Self.refusal("its predictions are not arrays") }

        try Self.relocate(base, size: size, header)
        let map = (base + MemoryLayout<segloss_program>.size).assumingMemoryBound(to: segloss_program_tensor.self)
        for i in 0..<Int(header.tensors) where map[i].array >= 0 {
            guard map[i].array < count else { throw Self.refusal("tensor \(i) is array \(map[i].array) of \(count)") }
            slots[i] = try Self.view(arrays[Int(map[i].array)], map[i], array: Int(map[i].array))
        }
        (self.header, self.entry, self.base) = (header, entry, base)
        parameters = Parameters(tensors: slots, arrays: map, count: Int(header.tensors))
        options = Options(address: base + Int(header.options_at))
    }

    var predictionSlots: Int { parameters.count - entry.constants }

    /// Bound to its arguments.
    func call() throws(LossError) -> Call {
        var execution = segloss_execution_default()
        execution.non_finite = header.non_finite
        let call = try entry.bind(parameters, options, &execution)
        guard header.items == 0 || call.items != nil else { throw Self.refusal("\(entry.name) has no items") }
        return call
    }

    /// Puts addresses where the options' pointers are.
    private static func relocate(
        _ base: UnsafeMutableRawPointer, size: Int, _ header: segloss_program
    ) throws(LossError) {
        func fits(_ at: UInt32, _ bytes: Int) -> Bool { at % 8 == 0 && Int(at) + bytes <= size }
        let pointersAt =
            MemoryLayout<segloss_program>.size + Int(header.tensors) * MemoryLayout<segloss_program_tensor>.size
        let length = max(0, Int(header.pointers)) * MemoryLayout<segloss_program_pointer>.size
        guard header.pointers >= 0, pointersAt + length <= size, fits(header.options_at, 8),
            Int(header.options_at) >= pointersAt + length,
            fits(header.options_at, Int(base.load(fromByteOffset: Int(header.options_at), as: UInt32.self)))
        else { throw refusal("its \(size) bytes do not hold what its header says") }
        for i in 0..<Int(header.pointers) {
            let p = base.load(
                fromByteOffset: pointersAt + i * MemoryLayout<segloss_program_pointer>.size,
                as: segloss_program_pointer.self)
            guard p.at >= header.options_at, fits(p.at, 8), fits(p.target, max(8, Int(p.bytes))),
                p.target >= header.options_at
            else { throw refusal("pointer \(i) leaves its options") }
            base.storeBytes(of: base + Int(p.target), toByteOffset: Int(p.at), as: UnsafeMutableRawPointer.self)
            if p.count_at != 0 {
                guard p.count_at >= header.options_at, fits(p.count_at, 8) else {
                    throw refusal("pointer \(i) leaves its options")
                }
                base.storeBytes(of: Int64(p.bytes / 8), toByteOffset: Int(p.count_at), as: Int64.self)
            } else {
                guard base.load(fromByteOffset: Int(p.target), as: UInt32.self) <= p.bytes else {
                    throw refusal("pointer \(i) leaves its options")
                }
            }
        }
    }

    /// An array, or one of its channels, in the order of dimensions that losses have.
    static func view(
        _ array: segloss_tensor, _ map: segloss_program_tensor, array index: Int
    ) throws(LossError) -> segloss_tensor {
        guard map.channels_last != 0 || map.channel >= 0 else { return array }
        guard (2...SEGLOSS_MAX_RANK).contains(array.rank) else {
            throw LossError(.rank, "array \(index): expected rank 2 to \(SEGLOSS_MAX_RANK), got \(array.rank)")
        }
        let rank = Int(array.rank)
        var (shape, strides): ([Int64], [Int64]) = ([], [])
        withUnsafeBytes(of: array.shape) { shape = Array($0.bindMemory(to: Int64.self).prefix(rank)) }
        withUnsafeBytes(of: array.strides) { strides = Array($0.bindMemory(to: Int64.self).prefix(rank)) }
        if array.flags & UInt32(SEGLOSS_DENSE) != 0 {
            var stride: Int64 = 1
            for i in (0..<rank).reversed() {
                strides[i] = stride
                stride = stride &* max(shape[i], 1)
            }
        }
        if map.channels_last != 0 {
            shape.insert(shape.removeLast(), at: 1)
            strides.insert(strides.removeLast(), at: 1)
        }
        var view = array
        view.flags &= ~UInt32(SEGLOSS_DENSE)
        if map.channel >= 0 {
            let (channels, step) = (shape.remove(at: 1), strides.remove(at: 1))
            guard Int64(map.channel) < channels else {
                throw LossError(
                    .shape, "array \(index): expected at least \(map.channel + 1) channels, got \(channels)")
            }
            // A validated view of the whole array first: its offsets are those of memory.
            _ = try tensor("array", array)
            view.rank -= 1
            if let data = array.data, !shape.contains(0) {
                view.data = data + Int(Int64(map.channel) * step) * Int(array.type_bits / 8)
            }
        }
        withUnsafeMutableBytes(of: &view.shape) { memory in
            for (i, extent) in shape.enumerated() { memory.storeBytes(of: extent, toByteOffset: i * 8, as: Int64.self) }
        }
        withUnsafeMutableBytes(of: &view.strides) { memory in
            for (i, stride) in strides.enumerated() {
                memory.storeBytes(of: stride, toByteOffset: i * 8, as: Int64.self)
            }
        }
        return view
    }

    /// The gradients of the parameters that are predictions, and what clears the channels that no parameter is.
    func gradients(
        _ given: UnsafePointer<UnsafePointer<segloss_tensor>?>?
    ) throws(LossError) -> (tensors: [Tensor?], unused: [Tensor]) {
        guard let given else { throw LossError(.nullPointer, "gradients: expected an array of pointers, got NULL") }
        var tensors = [Tensor?](repeating: nil, count: predictionSlots)
        for i in 0..<predictionSlots {
            let map = parameters.arrays[i]
            guard map.array >= 0, map.array < header.predictions, let gradient = given[Int(map.array)] else { continue }
            tensors[i] = try tensor(
                entry.gradients[i], Self.view(gradient.pointee, map, array: Int(map.array)))
        }
        var unused: [Tensor] = []
        for array in 0..<Int(header.predictions) {
            guard let gradient = given[array]?.pointee else { continue }
            let maps = (0..<predictionSlots).map { parameters.arrays[$0] }.filter {
                $0.array == array && $0.channel >= 0
            }
            guard var map = maps.first else { continue }
            let shape = try tensor("gradients", gradient).shape
            let channels = shape[map.channels_last != 0 ? shape.rank - 1 : 1]
            for channel in 0..<channels where !maps.contains(where: { $0.channel == channel }) {
                map.channel = Int32(channel)
                unused.append(try tensor("gradients", Self.view(gradient, map, array: array)))
            }
        }
        return (tensors, unused)
    }
}

/// More than any loss has.
private let maxArrays = 32

private func withProgram(
    _ program: UnsafeRawPointer?, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>?, _ count: Int32,
    _ error: UnsafeMutablePointer<segloss_error>?, _ body: (Program, Call) throws(LossError) -> Void
) -> Int32 {
    status(error) { () throws(LossError) in
        guard let program else { throw LossError(.nullPointer, "program: expected a program, got NULL") }
        let least = MemoryLayout<segloss_program>.size
        guard size >= least, size <= 1 << 24 else {
            throw LossError(.structSize, "program: expected at least \(least) bytes, got \(size)")
        }
        let base = UnsafeMutableRawPointer.allocate(byteCount: Int(size), alignment: 8)
        defer { base.deallocate() }
        base.copyMemory(from: program, byteCount: Int(size))
        let header = base.load(as: segloss_program.self)
        guard header.struct_size == least, (0...Int32(maxArrays)).contains(header.tensors) else {
            throw LossError(.structSize, "program: its header is not one of this version's")
        }
        let slots = UnsafeMutablePointer<segloss_tensor>.allocate(capacity: maxArrays)
        defer { slots.deallocate() }
        let bound = try Program(base, size: Int(size), slots, arrays, count)
        try body(bound, try bound.call())
    }
}

/// Parts into the caller's array, the loss among them into its value.
private func write(
    _ parts: [Double], _ length: Int64, to out: UnsafeMutablePointer<Double>?, value: Tensor?
) throws(LossError) {
    if let out {
        guard length == parts.count else {
            throw LossError(.option, "parts_length: expected \(parts.count), got \(length)")
        }
        for (i, part) in parts.enumerated() { out[i] = part }
    }
    value?.write(number: parts[0])
}

/// Where one number goes.
private func number(_ pointer: UnsafePointer<segloss_tensor>?) throws(LossError) -> Tensor? {
    let tensor = try optionalTensor("value", pointer)
    try tensor?.requireNumber()
    return tensor
}

private func dense(_ type: ElementType, _ shape: Extents) -> segloss_tensor {
    let (code, bits): (Int, UInt8) =
        switch type {
        case .f32: (SEGLOSS_TYPE_FLOAT, 32)
        case .f64: (SEGLOSS_TYPE_FLOAT, 64)
        case .f16: (SEGLOSS_TYPE_FLOAT, 16)
        case .bf16: (SEGLOSS_TYPE_BFLOAT, 16)
        case .u8: (SEGLOSS_TYPE_UINT, 8)
        case .i32: (SEGLOSS_TYPE_INT, 32)
        case .i64: (SEGLOSS_TYPE_INT, 64)
        }
    var tensor = segloss_tensor()
    tensor.device_type = Int32(SEGLOSS_DEVICE_CPU)
    (tensor.type_code, tensor.type_bits, tensor.type_lanes) = (UInt8(code), bits, 1)
    tensor.rank = Int32(shape.rank)
    tensor.flags = UInt32(SEGLOSS_DENSE)
    withUnsafeMutableBytes(of: &tensor.shape) { memory in
        for i in 0..<shape.rank { memory.storeBytes(of: Int64(shape[i]), toByteOffset: i * 8, as: Int64.self) }
    }
    return tensor
}

@_cdecl("segloss_program_outputs") @implementation
public func segloss_program_outputs(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafeMutablePointer<Int64>!, _ parts: UnsafeMutablePointer<Int64>!,
    _ value: UnsafeMutablePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    // Nothing is read.
    let shapes = UnsafeBufferPointer(start: arrays, count: arrays == nil ? 0 : min(max(0, Int(count)), maxArrays)).map { array in
        var shape = array
        shape.data = UnsafeMutableRawPointer(bitPattern: 64)
        return shape
    }
    return shapes.withUnsafeBufferPointer { shapes in
        withProgram(program, size, arrays == nil ? nil : shapes.baseAddress, count, error) { (program, call) throws(LossError) in
            let hasItems = program.header.items != 0
            statistics?.pointee = hasItems ? 0 : Int64(call.statisticsCount)
            parts?.pointee = hasItems ? 0 : Int64(call.partsCount)
            let type = call.prediction.type
            value?.pointee = dense(
                hasItems && call.itemsAreElements ? type : type == .f64 ? .f64 : .f32,
                hasItems ? call.itemsShape ?? Extents() : Extents())
        }
    }
}

@_cdecl("segloss_program_forward") @implementation
public func segloss_program_forward(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withProgram(program, size, arrays, count, error) { (program, call) throws(LossError) in
        if program.header.items != 0 {
            try call.items?(nil, try tensor("value", value), .init(repeating: nil, count: program.predictionSlots))
            return
        }
        let value = try number(value)
        if statistics != nil, length != call.statisticsCount {
            throw LossError(.statistics, "statistics: expected \(call.statisticsCount) entries, got \(length)")
        }
        let sums = try call.statistics()
        if let statistics {
            for (i, sum) in sums.enumerated() { statistics[i] = sum }
        }
        guard parts != nil || value != nil else { return }
        try write(try call.finish(sums, 1, []), parts_length, to: parts, value: value)
    }
}

@_cdecl("segloss_program_value") @implementation
public func segloss_program_value(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withProgram(program, size, arrays, count, error) { (program, call) throws(LossError) in
        guard program.header.items == 0 else { throw Program.refusal("items have no statistics") }
        let value = try number(value)
        try write(try call.finish(call.added(statistics, length), 1, []), parts_length, to: parts, value: value)
    }
}

@_cdecl("segloss_program_gradient") @implementation
public func segloss_program_gradient(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ gradients: UnsafePointer<UnsafePointer<segloss_tensor>?>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withProgram(program, size, arrays, count, error) { (program, call) throws(LossError) in
        let factor = try tensor("grad_output", grad_output)
        let gradients = try program.gradients(gradients)
        if program.header.items != 0 {
            try call.items?(factor, nil, gradients.tensors)
        } else {
            try factor.requireNumber()
            _ = try call.finish(call.added(statistics, length), factor.firstNumber, gradients.tensors)
        }
        for tensor in gradients.unused { tensor.clear() }
    }
}
