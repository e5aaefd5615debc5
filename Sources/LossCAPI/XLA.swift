import CLosses
import CXLA

// Programs as handlers of XLA's foreign function interface: a call frame becomes descriptors, and back. Statistics travel
// between handlers as pairs of uint32, since JAX has no float64 unless asked.

@_cdecl("segloss_xla_forward") @implementation
public func segloss_xla_forward(_ call_frame: UnsafeMutableRawPointer!) -> UnsafeMutableRawPointer! {
    handle(call_frame) { (frame, error) throws(Refusal) in
        // The statistics alone, or value, statistics and perhaps parts.
        let hasValue = frame.results.count != 1
        guard (1...3).contains(frame.results.count) else {
            throw Refusal("expected 1 to 3 results, got \(frame.results.count)")
        }
        let statistics = try doubles(frame.results[hasValue ? 1 : 0])
        let parts = frame.results.count == 3 ? try frame.results[2] : nil
        return try frame.withDescriptors(arrays: frame.arguments.count, results: hasValue ? 1 : 0) {
            (arrays, results) throws(Refusal) in
            try withParts(parts) { (parts, count) throws(Refusal) in
                segloss_program_forward(
                    frame.program.data, Int64(frame.program.size), arrays, Int32(frame.arguments.count),
                    statistics.baseAddress, Int64(statistics.count), parts, count, hasValue ? results : nil, error)
            }
        }
    }
}

@_cdecl("segloss_xla_value") @implementation
public func segloss_xla_value(_ call_frame: UnsafeMutableRawPointer!) -> UnsafeMutableRawPointer! {
    handle(call_frame) { (frame, error) throws(Refusal) in
        let count = frame.arguments.count - 1
        guard count >= 0, (1...2).contains(frame.results.count) else {
            throw Refusal("expected statistics after the arrays, and 1 or 2 results")
        }
        let statistics = try doubles(frame.arguments[count])
        let parts = frame.results.count == 2 ? try frame.results[1] : nil
        return try frame.withDescriptors(arrays: count, results: 1) { (arrays, value) throws(Refusal) in
            try withParts(parts) { (parts, length) throws(Refusal) in
                segloss_program_value(
                    frame.program.data, Int64(frame.program.size), arrays, Int32(count), statistics.baseAddress,
                    Int64(statistics.count), parts, length, value, error)
            }
        }
    }
}

@_cdecl("segloss_xla_gradient") @implementation
public func segloss_xla_gradient(_ call_frame: UnsafeMutableRawPointer!) -> UnsafeMutableRawPointer! {
    handle(call_frame) { (frame, error) throws(Refusal) in
        let count = frame.arguments.count - 2
        guard count >= 0 else { throw Refusal("expected statistics and an upstream gradient after the arrays") }
        let gradients = frame.results.count
        guard gradients == frame.predictions else {
            throw Refusal("expected \(frame.predictions) gradients, got \(gradients)")
        }
        let statistics = try doubles(frame.arguments[count])
        var factor = try descriptor(frame.arguments[count + 1])
        return try frame.withDescriptors(arrays: count, results: gradients) { (arrays, results) throws(Refusal) in
            withUnsafeTemporaryAllocation(of: UnsafePointer<segloss_tensor>?.self, capacity: max(gradients, 1)) {
                pointers in
                for i in 0..<gradients { pointers.initializeElement(at: i, to: results + i) }
                return segloss_program_gradient(
                    frame.program.data, Int64(frame.program.size), arrays, Int32(count), statistics.baseAddress,
                    Int64(statistics.count), &factor, pointers.baseAddress, error)
            }
        }
    }
}

/// What is wrong with a call that no program ever sees.
private struct Refusal: Error {
    let sentence: String
    init(_ sentence: String) { self.sentence = sentence }
}

private struct Frame {
    let program: cxla_array
    let arguments: Buffers
    let results: Buffers

    /// How many gradients there are. A program that is too short is left to be refused.
    var predictions: Int {
        guard program.size >= MemoryLayout<segloss_program>.size else { return results.count }
        return Int(program.data.loadUnaligned(as: segloss_program.self).predictions)
    }

    init(_ call: cxla_call_frame) throws(Refusal) {
        let attributes = call.attributes
        guard attributes.size == 1, attributes.types[0] == CXLA_ATTRIBUTE_ARRAY, let array = attributes.values[0] else {
            throw Refusal("expected one attribute, the program's bytes")
        }
        program = array.load(as: cxla_array.self)
        guard program.dtype == CXLA_U8 else { throw Refusal("expected the program as an array of uint8") }
        (arguments, results) = (Buffers(list: call.arguments), Buffers(list: call.results))
    }

    /// Descriptors of the first arguments and of the first results.
    func withDescriptors(
        arrays: Int, results count: Int,
        _ body: (UnsafeMutablePointer<segloss_tensor>, UnsafeMutablePointer<segloss_tensor>) throws(Refusal) -> Int32
    ) throws(Refusal) -> Int32 {
        // A few kilobytes at most: no loss has more than a dozen of them, and a program refuses what it does not take.
        try withUnsafeTemporaryAllocation(of: segloss_tensor.self, capacity: arrays + count + 1) {
            (memory) throws(Refusal) in
            for i in 0..<arrays { memory.initializeElement(at: i, to: try descriptor(arguments[i])) }
            for i in 0..<count { memory.initializeElement(at: arrays + i, to: try descriptor(results[i])) }
            let start = memory.baseAddress.unsafelyUnwrapped
            return try body(start, start + arrays)
        }
    }
}

/// A call's arguments or results.
private struct Buffers {
    let list: cxla_buffers

    var count: Int { Int(list.size) }

    subscript(i: Int) -> cxla_buffer {
        get throws(Refusal) {
            guard list.types[i] == CXLA_BUFFER, let value = list.values[i] else {
                throw Refusal("expected buffers, got an argument or result of type \(list.types[i])")
            }
            return value.load(as: cxla_buffer.self)
        }
    }
}

/// Answers what XLA asks of a handler when it is registered, or runs the body and turns its status into XLA's error.
private func handle(
    _ pointer: UnsafeMutableRawPointer?,
    _ body: (Frame, UnsafeMutablePointer<segloss_error>) throws(Refusal) -> Int32
) -> UnsafeMutableRawPointer? {
    guard let pointer else { return nil }
    let frame = pointer.load(as: cxla_call_frame.self)
    if let extension_ = frame.extension_start, extension_.pointee.type == CXLA_EXTENSION_METADATA {
        answer(UnsafeMutableRawPointer(extension_).load(as: cxla_metadata_extension.self).metadata, frame.api)
        return nil
    }
    guard frame.stage == CXLA_STAGE_EXECUTE else { return nil }
    var error = segloss_error()
    do throws(Refusal) {
        guard try body(Frame(frame), &error) != 0 else { return nil }
    } catch let refusal {
        report(Int32(SEGLOSS_UNSUPPORTED.rawValue), "segloss handler: " + refusal.sentence, to: &error)
    }
    return failure(&error, frame.api)
}

/// The version that this handler is written for, or an older one that the runtime has: a runtime refuses later ones than
/// its own.
private func answer(_ metadata: UnsafeMutablePointer<cxla_metadata>, _ api: UnsafePointer<cxla_api>) {
    let runtime = api.pointee.api_version
    metadata.pointee.api_version.major_version = Int32(CXLA_VERSION_MAJOR)
    metadata.pointee.api_version.minor_version =
        runtime.major_version == CXLA_VERSION_MAJOR
        ? min(runtime.minor_version, Int32(CXLA_VERSION_MINOR)) : Int32(CXLA_VERSION_MINOR)
    metadata.pointee.traits = 0
    if metadata.pointee.struct_size >= MemoryLayout<cxla_metadata>.size { metadata.pointee.state_type_id = 0 }
}

private func failure(
    _ error: inout segloss_error, _ api: UnsafePointer<cxla_api>
) -> UnsafeMutableRawPointer? {
    let code =
        switch segloss_status(UInt32(bitPattern: error.status)) {
        case SEGLOSS_OUT_OF_MEMORY: CXLA_RESOURCE_EXHAUSTED
        case SEGLOSS_INSTRUCTION_SET: CXLA_FAILED_PRECONDITION
        default: CXLA_INVALID_ARGUMENT
        }
    return withUnsafeBytes(of: &error.message) { message in
        var arguments = cxla_error_create_args(
            struct_size: cxla_error_create_size, extension_start: nil,
            message: message.baseAddress!.assumingMemoryBound(to: CChar.self), errc: Int32(code))
        return UnsafeMutableRawPointer(api.pointee.error_create(&arguments))
    }
}

/// A rank that is too large is kept for the program to refuse.
private func descriptor(_ buffer: cxla_buffer) throws(Refusal) -> segloss_tensor {
    let (code, bits): (Int, UInt8)
    switch Int(buffer.dtype) {
    case CXLA_F32: (code, bits) = (SEGLOSS_TYPE_FLOAT, 32)
    case CXLA_F64: (code, bits) = (SEGLOSS_TYPE_FLOAT, 64)
    case CXLA_F16: (code, bits) = (SEGLOSS_TYPE_FLOAT, 16)
    case CXLA_BF16: (code, bits) = (SEGLOSS_TYPE_BFLOAT, 16)
    case CXLA_U8: (code, bits) = (SEGLOSS_TYPE_UINT, 8)
    case CXLA_PRED: (code, bits) = (SEGLOSS_TYPE_BOOL, 8)
    case CXLA_S32: (code, bits) = (SEGLOSS_TYPE_INT, 32)
    case CXLA_S64: (code, bits) = (SEGLOSS_TYPE_INT, 64)
    default:
        throw Refusal(
            "expected float32, float64, float16, bfloat16, uint8, bool, int32 or int64, got XLA's type \(buffer.dtype)")
    }
    return segloss_from_dlpack(
        buffer.data, Int32(SEGLOSS_DEVICE_CPU), 0, Int32(clamping: buffer.rank), UInt8(code), bits, 1, buffer.dims, nil,
        0)
}

private func count(_ buffer: cxla_buffer) -> Int {
    var count = 1
    for i in 0..<Int(buffer.rank) { count *= Int(buffer.dims[i]) }
    return count
}

/// Statistics, which lie in a buffer of uint32.
private func doubles(_ buffer: cxla_buffer) throws(Refusal) -> UnsafeMutableBufferPointer<Double> {
    let words = count(buffer)
    guard buffer.dtype == CXLA_U32, words % 2 == 0 else {
        throw Refusal("expected statistics as pairs of uint32")
    }
    return UnsafeMutableBufferPointer(start: buffer.data?.assumingMemoryBound(to: Double.self), count: words / 2)
}

/// Room for the parts, which are then rounded to the type of their buffer, if there is one.
private func withParts(
    _ buffer: cxla_buffer?, _ body: (UnsafeMutablePointer<Double>?, Int64) throws(Refusal) -> Int32
) throws(Refusal) -> Int32 {
    guard let buffer else { return try body(nil, 0) }
    guard buffer.dtype == CXLA_F32 || buffer.dtype == CXLA_F64 else {
        throw Refusal("expected parts as float32 or float64")
    }
    let total = count(buffer)
    var parts = [Double](repeating: 0, count: max(total, 1))
    let status = try body(&parts, Int64(total))
    guard status == 0 else { return status }
    for (i, part) in parts.prefix(total).enumerated() {
        if buffer.dtype == CXLA_F32 {
            buffer.data.storeBytes(of: Float(part), toByteOffset: i * 4, as: Float.self)
        } else {
            buffer.data.storeBytes(of: part, toByteOffset: i * 8, as: Double.self)
        }
    }
    return 0
}
