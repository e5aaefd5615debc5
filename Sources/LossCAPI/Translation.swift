import CLosses
import LossCore

// Between C's structs and the core's types. Nothing is computed here.

/// Runs a body and turns what it throws into a status and a sentence. All that a call does is in the body, since a fork may
/// come before it: where there is Swift's runtime, a generic call looks its types up, under a lock that a child would inherit.
func status(_ error: UnsafeMutablePointer<segloss_error>?, _ body: () throws(LossError) -> Void) -> Int32 {
    Calls.enter()
    defer { Calls.leave() }
    do throws(LossError) {
        if let failure = Dispatch.current.failure { throw failure }
        try body()
    } catch let failure {
        report(failure.status.rawValue, failure.sentence, to: error)
        return failure.status.rawValue
    }
    report(0, "", to: error)
    return 0
}

func report(_ status: Int32, _ sentence: String, to error: UnsafeMutablePointer<segloss_error>?) {
    guard let error else { return }
    error.pointee.status = status
    withUnsafeMutableBytes(of: &error.pointee.message) { message in
        var sentence = sentence
        var length = sentence.withUTF8 { text in
            let length = min(text.count, message.count - 1)
            UnsafeMutableRawBufferPointer(rebasing: message[..<length]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(text)[..<length]))
            return length
        }
        // A cut must not leave half a character: drop its continuation bytes, and its first byte.
        if length == message.count - 1, length < sentence.utf8.count {
            while length > 0, message[length - 1] & 0xC0 == 0x80 { length -= 1 }
            if length > 0, message[length - 1] >= 0xC0 { length -= 1 }
        }
        message[length] = 0
    }
}

func tensor(_ name: StaticString, _ pointer: UnsafePointer<segloss_tensor>?) throws(LossError) -> Tensor {
    guard let pointer else { throw LossError(.nullPointer, "\(name): expected a tensor, got NULL") }
    let t = pointer.pointee
    guard t.device_type == SEGLOSS_DEVICE_CPU else {
        throw LossError(
            .device, "\(name): expected memory of the CPU (device type 1), got device type \(t.device_type)")
    }
    guard t.flags & ~UInt32(SEGLOSS_DENSE) == 0 else {
        throw LossError(.layout, "\(name): flags \(t.flags) are unknown; expected 0 or SEGLOSS_DENSE")
    }
    guard t.reserved == 0 else { throw LossError(.layout, "\(name): reserved is \(t.reserved); expected 0") }
    guard (0...SEGLOSS_MAX_RANK).contains(t.rank) else {
        throw LossError(.rank, "\(name): expected rank 0 to \(SEGLOSS_MAX_RANK), got \(t.rank)")
    }
    // Its address is the descriptor's, whenever it is used: a program's descriptors get others between calls.
    let address = UnsafeRawPointer(pointer).assumingMemoryBound(to: UnsafeMutableRawPointer?.self)
    return try Tensor(
        name, at: address, type: try elementType(name, t), shape: extents(t.shape, t.rank),
        strides: t.flags & UInt32(SEGLOSS_DENSE) != 0 ? nil : extents(t.strides, t.rank))
}

func optionalTensor(
    _ name: StaticString, _ pointer: UnsafePointer<segloss_tensor>?
) throws(LossError) -> Tensor? {
    pointer == nil ? nil : try tensor(name, pointer)
}

/// The gradients of a loss with several predictions.
func gradients(_ named: (StaticString, UnsafePointer<segloss_tensor>?)...) throws(LossError) -> [Tensor?] {
    var tensors: [Tensor?] = []
    for (name, pointer) in named { tensors.append(try optionalTensor(name, pointer)) }
    return tensors
}

private func elementType(_ name: StaticString, _ t: segloss_tensor) throws(LossError) -> ElementType {
    if t.type_lanes == 1 {
        switch (Int(t.type_code), t.type_bits) {
        case (SEGLOSS_TYPE_FLOAT, 32): return .f32
        case (SEGLOSS_TYPE_FLOAT, 64): return .f64
        case (SEGLOSS_TYPE_FLOAT, 16): return .f16
        case (SEGLOSS_TYPE_BFLOAT, 16): return .bf16
        case (SEGLOSS_TYPE_UINT, 8), (SEGLOSS_TYPE_BOOL, 8): return .u8
        case (SEGLOSS_TYPE_INT, 32): return .i32
        case (SEGLOSS_TYPE_INT, 64): return .i64
        default: break
        }
    }
    throw LossError(
        .elementType,
        "\(name): expected float32, float64, float16, bfloat16, uint8, bool, int32 or int64, got DLPack type code "
            + "\(t.type_code) with \(t.type_bits) bits and \(t.type_lanes) lanes")
}

private func extents(
    _ values: (Int64, Int64, Int64, Int64, Int64, Int64), _ rank: Int32
) -> Extents {
    withUnsafeBytes(of: values) { values in
        var extents = Extents()
        for i in 0..<Int(rank) { extents.append(Int(values.load(fromByteOffset: i * 8, as: Int64.self))) }
        return extents
    }
}

func execution(_ pointer: UnsafePointer<segloss_execution>?) throws(LossError) -> Execution {
    let e = try options("execution", pointer, segloss_execution_default())
    try requireUnused(e.reserved)
    guard e.threads >= 0 else { throw LossError(.option, "threads: expected at least 0, got \(e.threads)") }
    guard let policy = NonFinitePolicy(rawValue: e.non_finite) else {
        throw LossError(.option, "non_finite: expected 0 to 2, got \(e.non_finite)")
    }
    return Execution(threads: Int(e.threads), nonFinite: policy)
}

/// What later versions may give a meaning to.
func requireUnused(_ reserved: some BinaryInteger) throws(LossError) {
    guard reserved == 0 else { throw LossError(.option, "reserved: expected 0, got \(reserved)") }
}

func flag(_ name: StaticString, _ value: Int32) throws(LossError) -> Bool {
    guard value == 0 || value == 1 else { throw LossError(.option, "\(name): expected 0 or 1, got \(value)") }
    return value == 1
}

/// The first phase, into the caller's array.
func writeStatistics(
    _ loss: some Loss, to statistics: UnsafeMutablePointer<Double>?, _ length: Int64
) throws(LossError) {
    guard let statistics else { throw LossError(.nullPointer, "statistics: expected an array, got NULL") }
    try loss.requireStatistics(count: Int(length))
    let values = try loss.statistics()
    for (i, value) in values.enumerated() { statistics[i] = value }
}

/// The second phase, from the caller's array.
func finish<L: Loss>(
    _ loss: L, _ statistics: UnsafePointer<Double>?, _ length: Int64, _ gradOutput: Double, _ gradients: [Tensor?]
) throws(LossError) -> L.Parts {
    guard let statistics else { throw LossError(.nullPointer, "statistics: expected an array, got NULL") }
    try loss.requireStatistics(count: Int(length))
    return try loss.finish(
        Array(UnsafeBufferPointer(start: statistics, count: Int(length))), gradOutput: gradOutput,
        gradients: gradients)
}

/// Value, parts and gradient of a loss of one prediction, in one call.
func oneCall<L: Loss, P: Sized>(
    _ loss: @autoclosure () throws(LossError) -> L, _ parts: UnsafeMutablePointer<P>?, _ gradOutput: Double,
    _ gradient: (StaticString, UnsafePointer<segloss_tensor>?), _ write: (L.Parts, UnsafeMutablePointer<P>?) -> Void
) throws(LossError) {
    try check(parts: parts)
    write(try loss()(gradOutput: gradOutput, gradients: gradients(gradient)), parts)
}

/// The same from statistics.
func finishCall<L: Loss, P: Sized>(
    _ loss: @autoclosure () throws(LossError) -> L, _ statistics: UnsafePointer<Double>?, _ length: Int64,
    _ parts: UnsafeMutablePointer<P>?, _ gradOutput: Double,
    _ gradient: (StaticString, UnsafePointer<segloss_tensor>?), _ write: (L.Parts, UnsafeMutablePointer<P>?) -> Void
) throws(LossError) {
    try check(parts: parts)
    write(try finish(loss(), statistics, length, gradOutput, gradients(gradient)), parts)
}

/// Each item's value and gradient, without the reduction.
func itemsCall(
    _ loss: @autoclosure () throws(LossError) -> some ItemLoss, _ gradOutput: UnsafePointer<segloss_tensor>?,
    _ values: UnsafePointer<segloss_tensor>?, _ gradient: (StaticString, UnsafePointer<segloss_tensor>?)
) throws(LossError) {
    try loss().items(
        gradOutput: optionalTensor("grad_output", gradOutput), values: optionalTensor("values", values),
        gradients: gradients(gradient))
}
