import CLosses
import CSystem
import LossCore

/// The arguments of a call: a program, its arrays, and the tensors that it gives or takes beside them.
struct ProgramCall {
    /// As segloss_program_call numbers them, and what asks about shapes alone.
    enum Kind: Int32 {
        case shapes = -1
        case forward, valueAndGradient, value, gradient
    }

    let kind: Kind
    let program: UnsafeRawPointer?
    let size: Int64
    let arrays: UnsafePointer<segloss_tensor>?
    let count: Int32
    /// The value, or the upstream factor.
    var number: UnsafePointer<segloss_tensor>?
    var gradients: UnsafePointer<UnsafePointer<segloss_tensor>?>?
    /// Of all these tensors; nil: their own.
    var addresses: UnsafePointer<UnsafeMutableRawPointer?>?

    var hasGradients: Bool { kind == .valueAndGradient || kind == .gradient }

    /// The arrays, the number, the gradients: one after the other.
    fileprivate func tensor(_ i: Int) -> UnsafePointer<segloss_tensor>? {
        let count = Int(count)
        return i < count ? arrays.map { $0 + i } : i == count ? number : gradients?[i - count - 1]
    }

    fileprivate func address(_ i: Int) -> UnsafeMutableRawPointer? {
        if let addresses { return addresses[i] }
        return tensor(i)?.pointee.data
    }
}

/// A program with tensors of certain types, shapes and strides: checked and planned once, run with any addresses.
struct BoundProgram {
    private let kind: ProgramCall.Kind
    private let size: Int
    private let count: Int
    /// The program as it was given, and the copy that is read.
    private let bytes: UnsafeMutableRawPointer
    /// The tensors as they were given, and how many elements each has; fewer than 0: it was not given.
    private let tensors: UnsafeMutablePointer<segloss_tensor>
    private var elements: [Int] = []
    /// Where the loss's tensors find their addresses: views, each some bytes behind the start of a tensor.
    private let views: UnsafeMutablePointer<segloss_tensor>
    private var sources: [(tensor: Int, offset: Int)] = []
    private var run: Request.Run = { _ in }
    /// Where preparing is a good part of a call. (Classes are planned one by one: many of them take memory.)
    private(set) var isWorthKeeping = false

    /// `task` of a call that is about shapes alone.
    init(_ call: ProgramCall, _ task: Request.Task? = nil) throws(LossError) {
        let header = try Program.header(call.program, size: call.size)
        (kind, size, count) = (call.kind, Int(call.size), Int(call.count))
        let capacity = 2 * Int(header.tensors) + maxArrays + 1
        bytes = .allocate(byteCount: 2 * paddedSize(size), alignment: 8)
        views = .allocate(capacity: capacity)
        tensors = .allocate(capacity: 2 * maxArrays + 1)
        do throws(LossError) {
            try bind(call, task)
        } catch let failure {
            free()
            throw failure
        }
    }

    func free() {
        bytes.deallocate()
        views.deallocate()
        tensors.deallocate()
    }

    private mutating func bind(_ call: ProgramCall, _ task: Request.Task?) throws(LossError) {
        let copy = bytes + paddedSize(size)
        for copy in [bytes, copy] { copy.copyMemory(from: call.program.unsafelyUnwrapped, byteCount: size) }
        let program = try Program(copy, size: size, call.arrays, call.count)
        if call.hasGradients, call.gradients == nil {
            throw LossError(.nullPointer, "gradients: expected an array of pointers, got NULL")
        }
        for i in 0..<count + 1 + (call.hasGradients ? Int(program.header.predictions) : 0) {
            let given = call.tensor(i)
            tensors[i] = given?.pointee ?? segloss_tensor()
            if given != nil { tensors[i].data = call.address(i) }
            elements.append(given == nil ? -1 : 0)
        }
        for i in 0..<Int(program.header.tensors) {
            let map = program.map[i]
            guard map.array >= 0 else {
                add(segloss_tensor(), of: nil)
                continue
            }
            add(try Program.view(tensors + Int(map.array), map, array: Int(map.array)), of: Int(map.array))
        }
        let parameters = Parameters(tensors: views, arrays: program.map, count: Int(program.header.tensors))

        switch kind {
        case .shapes:
            if let task { run = try program.bind(parameters, task) }
        case .forward:
            run = try program.bind(parameters, .forward(value(program), []))
        case .value:
            run = try program.bind(parameters, .value(value(program)))
        case .valueAndGradient:
            let gradients = try gradients(program)
            run = try program.bind(parameters, .forward(value(program), gradients.wanted))
            clear(gradients.unused)
        case .gradient:
            let gradients = try gradients(program)
            let factor = try LossCAPI.tensor("grad_output", view(of: count))
            run = try program.bind(parameters, .gradient(factor: factor, gradients.wanted))
            clear(gradients.unused)
        }
        var total = 0
        isWorthKeeping = true
        for i in 0..<elements.count where elements[i] == 0 {
            elements[i] = try LossCAPI.tensor("array", tensors + i).count
            total &+= elements[i]
            isWorthKeeping = isWorthKeeping && total <= 1 << 14 && tensors[i].shape.1 <= 256
        }
    }

    // MARK: Tensors

    @discardableResult
    private mutating func add(_ view: segloss_tensor, of tensor: Int?) -> UnsafePointer<segloss_tensor> {
        let place = views + sources.count
        place.initialize(to: view)
        let start = tensor.map { Int(bitPattern: tensors[$0].data) } ?? 0
        sources.append((tensor ?? -1, view.data == nil ? 0 : Int(bitPattern: view.data) - start))
        return UnsafePointer(place)
    }

    /// A tensor as it was given, nil if it was not.
    private mutating func view(of i: Int) -> UnsafePointer<segloss_tensor>? {
        elements[i] < 0 ? nil : add(tensors[i], of: i)
    }

    private mutating func value(_ program: Program) throws(LossError) -> Tensor? {
        let value = try optionalTensor("value", view(of: count))
        if program.header.items == 0 { try value?.requireNumber() }
        return value
    }

    /// The gradients of the parameters that are predictions, and the channels that no parameter is.
    private mutating func gradients(
        _ program: Program
    ) throws(LossError) -> (wanted: [Tensor?], unused: [Tensor]) {
        var wanted = [Tensor?](repeating: nil, count: program.predictions)
        for i in 0..<program.predictions {
            let map = program.map[i]
            let at = count + 1 + Int(map.array)
            guard map.array >= 0, map.array < program.header.predictions, elements[at] >= 0 else { continue }
            let view = add(try Program.view(tensors + at, map, array: Int(map.array)), of: at)
            wanted[i] = try LossCAPI.tensor(program.entry.gradients[i], view)
        }
        var unused: [Tensor] = []
        for array in 0..<Int(program.header.predictions) {
            let maps = (0..<program.predictions).map { program.map[$0] }.filter {
                $0.array == array && $0.channel >= 0
            }
            guard let map = maps.first, let given = view(of: count + 1 + array) else { continue }
            // As a whole, since the channels that nobody asks for are written too.
            var whole = try LossCAPI.tensor("gradients", given)
            try whole.requireGradient(of: LossCAPI.tensor("array", tensors + array))
            guard whole.count > 0 else { continue }
            if map.channels_last != 0 { whole = whole.channelsFirst() }
            for channel in 0..<whole.shape[1] where !maps.contains(where: { $0.channel == channel }) {
                unused.append(whole.channel(channel))
            }
        }
        return (wanted, unused)
    }

    private mutating func clear(_ unused: [Tensor]) {
        guard !unused.isEmpty else { return }
        let run = run
        self.run = { (numbers) throws(LossError) in
            try run(numbers)
            for tensor in unused { tensor.clear() }
        }
    }

    // MARK: Calls

    func callAsFunction(_ numbers: Request.Numbers) throws(LossError) { try run(numbers) }

    /// Whether the call differs in addresses alone. Then those are put in place.
    func takes(_ call: ProgramCall) -> Bool {
        guard call.kind == kind, call.size == size, call.count == count, let program = call.program,
            memcmp(program, bytes, size) == 0, call.arrays != nil,
            !call.hasGradients || call.gradients != nil
        else { return false }
        let address = MemoryLayout<UnsafeRawPointer>.size
        for i in 0..<elements.count {
            guard let given = call.tensor(i) else {
                if elements[i] < 0 { continue }
                return false
            }
            guard elements[i] >= 0, call.address(i) != nil || elements[i] == 0,
                memcmp(
                    UnsafeRawPointer(given) + address, UnsafeRawPointer(tensors + i) + address,
                    MemoryLayout<segloss_tensor>.size - address) == 0
            else { return false }
        }
        for i in 0..<sources.count where sources[i].tensor >= 0 {
            views[i].data = call.address(sources[i].tensor).map { $0 + sources[i].offset }
        }
        return true
    }
}

private func paddedSize(_ size: Int) -> Int { (size + 7) & ~7 }

/// Bound programs between calls: training steps ask for the same few again and again.
///
/// Each waits in a place, from which one caller at a time takes it, without a lock.
enum BoundPrograms {
    private static let places = 32
    nonisolated(unsafe) private static let waiting = numbers(places)
    /// What hints at the program in a place; only looking at it tells.
    nonisolated(unsafe) private static let hints = numbers(places)
    nonisolated(unsafe) private static let turn = numbers(1)

    private static func numbers(_ count: Int) -> UnsafeMutablePointer<Int64> {
        let numbers = UnsafeMutablePointer<Int64>.allocate(capacity: count)
        numbers.initialize(repeating: 0, count: count)
        return numbers
    }

    /// Runs a call with the program that waits for it, or binds one.
    static func run(_ call: ProgramCall, _ numbers: Request.Numbers) throws(LossError) {
        let hint = hint(call)
        let program: UnsafeMutablePointer<BoundProgram>
        if let known = take(call, hint) { program = known } else { program = try make(call) }
        defer { giveBack(program, hint) }
        try program.pointee(numbers)
    }

    /// Everything that waits is freed.
    static func release() {
        for place in 0..<places { free(pointer(csystem_exchange(waiting + place, 0))) }
    }

    private static func make(_ call: ProgramCall) throws(LossError) -> UnsafeMutablePointer<BoundProgram> {
        let program = try BoundProgram(call)
        let pointer = UnsafeMutablePointer<BoundProgram>.allocate(capacity: 1)
        pointer.initialize(to: program)
        return pointer
    }

    private static func take(_ call: ProgramCall, _ hint: Int64) -> UnsafeMutablePointer<BoundProgram>? {
        for place in 0..<places where csystem_load(hints + place) == hint {
            guard let program = pointer(csystem_exchange(waiting + place, 0)) else { continue }
            if program.pointee.takes(call) { return program }
            giveBack(program, csystem_load(hints + place))
        }
        return nil
    }

    private static func giveBack(_ program: UnsafeMutablePointer<BoundProgram>, _ hint: Int64) {
        guard program.pointee.isWorthKeeping else { return free(program) }
        let bits = Int64(Int(bitPattern: program))
        for place in 0..<places where csystem_replace(waiting + place, 0, bits) != 0 {
            csystem_store(hints + place, hint)
            return
        }
        let place = Int(csystem_add(turn, 1) & Int64(places - 1))
        let old = csystem_exchange(waiting + place, bits)
        csystem_store(hints + place, hint)
        free(pointer(old))
    }

    private static func free(_ program: UnsafeMutablePointer<BoundProgram>?) {
        guard let program else { return }
        program.pointee.free()
        program.deinitialize(count: 1)
        program.deallocate()
    }

    private static func pointer(_ bits: Int64) -> UnsafeMutablePointer<BoundProgram>? {
        UnsafeMutablePointer(bitPattern: Int(bits))
    }

    /// The same for calls that agree in all but addresses of memory, mostly another for others.
    private static func hint(_ call: ProgramCall) -> Int64 {
        var hint = Int64(Int(bitPattern: call.program)) &+ (call.hasGradients ? 1 : 0) &+ (call.number == nil ? 2 : 0)
        guard let arrays = call.arrays, (1...Int32(maxArrays)).contains(call.count) else { return hint }
        for i in 0..<Int(call.count) {
            let shape = arrays[i].shape
            for extent in [shape.0, shape.1, shape.2, shape.3] { hint = (hint &* 31) &+ extent }
        }
        return hint
    }
}
