import CLosses
import LossCore

// Any loss, found by its name: arrays in, a value and a few parts out, gradients back.

/// What a program calls: one row for each loss, which stands in the loss's file.
struct Entry: Sendable {
    typealias Bind =
        @Sendable (Parameters, Options, UnsafePointer<segloss_execution>, Request) throws(LossError) -> Void

    let name: StaticString
    /// The gradients' names: one for each prediction, or one for each level that a list may have.
    let gradients: [StaticString]
    /// Tensors after the predictions.
    let constants: Int
    let isList: Bool
    /// Makes the loss of its arguments and hands it to the request.
    let bind: Bind

    init(
        _ name: StaticString, gradients: [StaticString], constants: Int, isList: Bool = false, _ bind: @escaping Bind
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

/// What is asked of a loss, whichever it is.
struct Request {
    enum Task {
        case outputs(
            statistics: UnsafeMutablePointer<Int64>?, parts: UnsafeMutablePointer<Int64>?,
            value: UnsafeMutablePointer<segloss_tensor>?)
        case passes(UnsafeMutablePointer<Int32>)
        /// With gradients for a factor of 1, if any are wanted.
        case forward(UnsafeMutablePointer<Double>?, Int64, Parts, [Tensor?])
        case value(UnsafePointer<Double>?, Int64, Parts)
        case gradient(UnsafePointer<Double>?, Int64, Tensor, [Tensor?])
    }

    /// Where parts and the value go.
    struct Parts {
        let memory: UnsafeMutablePointer<Double>?
        let length: Int64
        let value: Tensor?
    }

    let task: Task
    let wantsItems: Bool
    /// Of the prediction, and so of a map that lies as it does.
    let hasChannelsLast: Bool

    /// A loss, and how its parts become a C struct of doubles behind its size.
    func callAsFunction<L: Loss, P: Sized>(
        _ loss: L, extraParts: Int = 0, _ write: (L.Parts, UnsafeMutablePointer<P>?) -> Void,
        extra: (L.Parts) -> [Double] = { _ in [] }
    ) throws(LossError) {
        guard !wantsItems else { throw Program.refusal("this loss has no items") }
        let count = MemoryLayout<P>.size / 8 - 1
        func requireRoom(_ out: Parts) throws(LossError) {
            guard out.memory == nil || out.length == count + extraParts else {
                throw LossError(.option, "parts_length: expected \(count + extraParts), got \(out.length)")
            }
        }
        func deliver(_ parts: L.Parts, to out: Parts) {
            withUnsafeTemporaryAllocation(byteCount: MemoryLayout<P>.size, alignment: 8) { memory in
                memory.storeBytes(of: UInt32(memory.count), as: UInt32.self)
                write(parts, memory.baseAddress?.assumingMemoryBound(to: P.self))
                if let numbers = out.memory {
                    for i in 0..<count { numbers[i] = memory.load(fromByteOffset: (i + 1) * 8, as: Double.self) }
                    for (i, part) in extra(parts).enumerated() { numbers[count + i] = part }
                }
                out.value?.write(number: memory.load(fromByteOffset: 8, as: Double.self))
            }
        }
        switch task {
        case .outputs(let statistics, let parts, let value):
            statistics?.pointee = Int64(loss.statisticsCount)
            parts?.pointee = Int64(count + extraParts)
            value?.pointee = dense(loss.predictions[0].type == .f64 ? .f64 : .f32, Extents())
        case .passes(let passes): passes.pointee = Int32(loss.passes)
        case .forward(let statistics, let length, let out, let gradients):
            // Nothing is written before all that can be refused has been looked at.
            if statistics != nil { try loss.requireStatistics(count: Int(length)) }
            try requireRoom(out)
            let sums: [Double]
            if gradients.isEmpty {
                sums = try loss.statistics()
                if out.memory != nil || out.value != nil { deliver(try loss.parts(sums), to: out) }
            } else {
                let both = try loss.evaluate(gradOutput: 1, gradients: gradients)
                sums = both.statistics
                deliver(both.parts, to: out)
            }
            if let statistics {
                for (i, sum) in sums.enumerated() { statistics[i] = sum }
            }
        case .value(let statistics, let length, let out):
            try requireRoom(out)
            try deliver(loss.parts(added(statistics, length, count: loss.statisticsCount)), to: out)
        case .gradient(let statistics, let length, let factor, let gradients):
            try factor.requireNumber()
            _ = try loss.finish(
                added(statistics, length, count: loss.statisticsCount), gradOutput: factor.firstNumber,
                gradients: gradients)
        }
    }

    /// One that is reduced from items, which are asked for or not.
    func callAsFunction<L: ItemLoss, P: Sized>(
        itemsOf loss: L, extraParts: Int = 0, _ write: (L.Parts, UnsafeMutablePointer<P>?) -> Void,
        extra: (L.Parts) -> [Double] = { _ in [] }
    ) throws(LossError) {
        guard wantsItems else { return try self(loss, extraParts: extraParts, write, extra: extra) }
        try items(
            loss.itemsShape, loss.itemsAreElements, like: loss.predictions[0]
        ) { (factor, values, gradients) throws(LossError) in
            try loss.items(gradOutput: factor, values: values, gradients: gradients)
        }
    }

    /// Items of this shape: numbers of elements, in the prediction's type, or of more.
    func items(
        _ shape: Extents, _ areElements: Bool, like prediction: Tensor,
        _ run: (Tensor?, Tensor?, [Tensor?]) throws(LossError) -> Void
    ) throws(LossError) {
        guard wantsItems else { throw Program.refusal("this loss is a map, which items stand for") }
        let rank = prediction.shape.rank
        let moves = hasChannelsLast && areElements && shape.rank == rank
        func inOrder(_ items: Tensor) -> Tensor { moves && items.shape.rank == rank ? items.channelsFirst() : items }
        switch task {
        case .outputs(let statistics, let parts, let value):
            statistics?.pointee = 0
            parts?.pointee = 0
            let shape = moves ? Extents([shape[0]] + (2..<rank).map { shape[$0] } + [shape[1]]) : shape
            value?.pointee = dense(areElements || prediction.type == .f64 ? prediction.type : .f32, shape)
        case .passes(let passes): passes.pointee = 2
        case .forward(_, _, let out, let gradients):
            let value = out.value.map(inOrder)
            guard !gradients.isEmpty else { return try run(nil, value, [nil, nil]) }
            var one = 1.0
            let strides = Extents([Int](repeating: 0, count: shape.rank))
            try withUnsafeMutablePointer(to: &one) { (one) throws(LossError) in
                try run(
                    Tensor("grad_output", data: one, type: .f64, shape: shape, strides: strides), value, gradients)
            }
        case .value: throw Program.refusal("items have no statistics")
        case .gradient(_, _, let factor, let gradients): try run(inOrder(factor), nil, gradients)
        }
    }

    /// Statistics of one batch, of those of several one after the other.
    private func added(
        _ statistics: UnsafePointer<Double>?, _ length: Int64, count: Int
    ) throws(LossError) -> [Double] {
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
    /// What the parameters' tensors are views of.
    let arrays: UnsafePointer<segloss_tensor>
    /// The program, which the options are in.
    let base: UnsafeMutableRawPointer

    static func refusal(_ what: String) -> LossError { LossError(.unsupported, "program: \(what)") }

    /// `slots` has room for every tensor of the program, `base` for its bytes.
    init(
        _ base: UnsafeMutableRawPointer, size: Int, _ slots: UnsafeMutablePointer<segloss_tensor>,
        _ arrays: UnsafePointer<segloss_tensor>?, _ count: Int32
    ) throws(LossError) {
        let header = base.load(as: segloss_program.self)
        guard let entry = Entry.all.first(where: { Self.holds(header.loss, $0.name) }) else {
            let name = withUnsafeBytes(of: header.loss) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            throw Self.refusal("loss \(name) is unknown")
        }
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
        (self.header, self.entry, self.arrays, self.base) = (header, entry, arrays, base)
        parameters = Parameters(tensors: slots, arrays: map, count: Int(header.tensors))
        options = Options(address: base + Int(header.options_at))
    }

    var predictionSlots: Int { parameters.count - entry.constants }

    func run(_ task: Request.Task) throws(LossError) {
        var execution = segloss_execution_default()
        execution.non_finite = header.non_finite
        let request = Request(
            task: task, wantsItems: header.items != 0,
            hasChannelsLast: header.tensors > 0 && parameters.arrays[0].channels_last != 0
                && parameters.arrays[0].channel < 0)
        try entry.bind(parameters, options, &execution, request)
    }

    /// Whether a field of characters holds just this name.
    private static func holds(_ field: some BitwiseCopyable, _ name: StaticString) -> Bool {
        withUnsafeBytes(of: field) { field in
            let length = name.utf8CodeUnitCount
            guard length < field.count, field[length] == 0 else { return false }
            for i in 0..<length where field[i] != name.utf8Start[i] { return false }
            return true
        }
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
                    .shape, "array \(index): expected channel \(map.channel) among its channels, got \(channels)")
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

    /// Where parts and the value go.
    func parts(
        _ memory: UnsafeMutablePointer<Double>?, _ length: Int64, _ value: UnsafePointer<segloss_tensor>?
    ) throws(LossError) -> Request.Parts {
        let value = try optionalTensor("value", value)
        if header.items == 0 { try value?.requireNumber() }
        return Request.Parts(memory: memory, length: length, value: value)
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
            // As a whole, since the channels that nobody asks for are written too.
            let whole = try tensor("gradients", gradient)
            try whole.requireGradient(of: tensor("array", arrays[array]))
            guard whole.count > 0 else { continue }
            let channels = whole.shape[map.channels_last != 0 ? whole.shape.rank - 1 : 1]
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
    _ error: UnsafeMutablePointer<segloss_error>?, _ body: (Program) throws(LossError) -> Void
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
        try body(Program(base, size: Int(size), slots, arrays, count))
    }
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
    withShapes(program, size, arrays, count, error) { (program) throws(LossError) in
        try program.run(.outputs(statistics: statistics, parts: parts, value: value))
    }
}

@_cdecl("segloss_program_passes") @implementation
public func segloss_program_passes(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ passes: UnsafeMutablePointer<Int32>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withShapes(program, size, arrays, count, error) { (program) throws(LossError) in
        guard let passes else { throw LossError(.nullPointer, "passes: expected a number, got NULL") }
        try program.run(.passes(passes))
    }
}

/// On arrays of which nothing is read.
private func withShapes(
    _ program: UnsafeRawPointer?, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>?, _ count: Int32,
    _ error: UnsafeMutablePointer<segloss_error>?, _ body: (Program) throws(LossError) -> Void
) -> Int32 {
    let shapes = UnsafeBufferPointer(start: arrays, count: arrays == nil ? 0 : min(max(0, Int(count)), maxArrays)).map {
        array in
        var shape = array
        shape.data = UnsafeMutableRawPointer(bitPattern: 64)
        return shape
    }
    return shapes.withUnsafeBufferPointer { shapes in
        withProgram(program, size, arrays == nil ? nil : shapes.baseAddress, count, error, body)
    }
}

@_cdecl("segloss_program_forward") @implementation
public func segloss_program_forward(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withProgram(program, size, arrays, count, error) { (program) throws(LossError) in
        try program.run(.forward(statistics, length, program.parts(parts, parts_length, value), []))
    }
}

@_cdecl("segloss_program_value_and_gradient") @implementation
public func segloss_program_value_and_gradient(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!,
    _ gradients: UnsafePointer<UnsafePointer<segloss_tensor>?>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withProgram(program, size, arrays, count, error) { (program) throws(LossError) in
        let gradients = try program.gradients(gradients)
        try program.run(
            .forward(statistics, length, program.parts(parts, parts_length, value), gradients.tensors))
        for tensor in gradients.unused { tensor.clear() }
    }
}

@_cdecl("segloss_program_value") @implementation
public func segloss_program_value(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withProgram(program, size, arrays, count, error) { (program) throws(LossError) in
        try program.run(.value(statistics, length, program.parts(parts, parts_length, value)))
    }
}

@_cdecl("segloss_program_gradient") @implementation
public func segloss_program_gradient(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ gradients: UnsafePointer<UnsafePointer<segloss_tensor>?>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    withProgram(program, size, arrays, count, error) { (program) throws(LossError) in
        let gradients = try program.gradients(gradients)
        try program.run(.gradient(statistics, length, tensor("grad_output", grad_output), gradients.tensors))
        for tensor in gradients.unused { tensor.clear() }
    }
}
