import CLosses
import LossCore

/// A program's bytes, checked and copied to aligned memory.
struct Program {
    let header: segloss_program
    let entry: Entry
    /// What each parameter of the loss is a view of.
    let map: UnsafePointer<segloss_program_tensor>
    let options: Options

    static func refusal(_ what: String) -> LossError { LossError(.unsupported, "program: \(what)") }

    /// The header of a program that is as long as it says.
    static func header(_ program: UnsafeRawPointer?, size: Int64) throws(LossError) -> segloss_program {
        guard let program else { throw LossError(.nullPointer, "program: expected a program, got NULL") }
        let least = MemoryLayout<segloss_program>.size
        guard size >= least, size <= 1 << 24 else {
            throw LossError(.structSize, "program: expected at least \(least) bytes, got \(size)")
        }
        let header = program.loadUnaligned(as: segloss_program.self)
        guard header.struct_size == least, (0...Int32(maxArrays)).contains(header.tensors) else {
            throw LossError(.structSize, "program: its header is not one of this version's")
        }
        return header
    }

    /// `base` holds its bytes, and goes on doing so: the options are in there.
    init(
        _ base: UnsafeMutableRawPointer, size: Int, _ arrays: UnsafePointer<segloss_tensor>?, _ count: Int32
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
        guard header.arrays == count, arrays != nil else {
            throw LossError(.option, "count: expected \(header.arrays) arrays, got \(count)")
        }
        guard (0...Int32(maxArrays)).contains(count) else {
            throw LossError(.option, "count: expected 0 to \(maxArrays) arrays, got \(count)")
        }
        guard (0...count).contains(header.predictions) else { throw Self.refusal("its predictions are not arrays") }

        try Self.relocate(base, size: size, header)
        map = UnsafePointer(
            (base + MemoryLayout<segloss_program>.size).assumingMemoryBound(to: segloss_program_tensor.self))
        for i in 0..<Int(header.tensors) where map[i].array >= count {
            throw Self.refusal("tensor \(i) is array \(map[i].array) of \(count)")
        }
        (self.header, self.entry) = (header, entry)
        options = Options(address: base + Int(header.options_at))
    }

    /// How many of the loss's parameters are predictions.
    var predictions: Int { Int(header.tensors) - entry.constants }

    func bind(_ parameters: Parameters, _ task: Request.Task) throws(LossError) -> Request.Run {
        var execution = segloss_execution_default()
        execution.non_finite = header.non_finite
        let request = Request(
            task: task, wantsItems: header.items != 0,
            hasChannelsLast: header.tensors > 0 && map[0].channels_last != 0 && map[0].channel < 0)
        return try entry.bind(parameters, options, &execution, request)
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
        _ pointer: UnsafePointer<segloss_tensor>, _ map: segloss_program_tensor, array index: Int
    ) throws(LossError) -> segloss_tensor {
        let array = pointer.pointee
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
            _ = try tensor("array", pointer)
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
}

/// More than any loss has.
let maxArrays = 32
