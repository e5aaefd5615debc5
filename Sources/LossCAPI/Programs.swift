import CLosses
import LossCore

// Any loss, found by its name: arrays in, a value and a few parts out, gradients back.

@_cdecl("segloss_program_outputs") @implementation
public func segloss_program_outputs(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafeMutablePointer<Int64>!, _ parts: UnsafeMutablePointer<Int64>!,
    _ value: UnsafeMutablePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try withShapes(program, size, arrays, count, .outputs(statistics: statistics, parts: parts, value: value))
    }
}

@_cdecl("segloss_program_passes") @implementation
public func segloss_program_passes(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ passes: UnsafeMutablePointer<Int32>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        guard let passes else { throw LossError(.nullPointer, "passes: expected a number, got NULL") }
        try withShapes(program, size, arrays, count, .passes(passes))
    }
}

/// On arrays of which nothing is read.
private func withShapes(
    _ program: UnsafeRawPointer?, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>?, _ count: Int32,
    _ task: Request.Task
) throws(LossError) {
    let shapes = UnsafeBufferPointer(start: arrays, count: arrays == nil ? 0 : min(max(0, Int(count)), maxArrays)).map {
        array in
        var shape = array
        shape.data = UnsafeMutableRawPointer(bitPattern: 64)
        return shape
    }
    try shapes.withUnsafeBufferPointer { (shapes) throws(LossError) in
        let bound = try BoundProgram(
            ProgramCall(
                kind: .shapes, program: program, size: size, arrays: arrays == nil ? nil : shapes.baseAddress,
                count: count), task)
        defer { bound.free() }
        try bound(Request.Numbers())
    }
}

@_cdecl("segloss_program_forward") @implementation
public func segloss_program_forward(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try BoundPrograms.run(
            ProgramCall(
                kind: .forward, program: program, size: size, arrays: arrays, count: count, number: value),
            Request.Numbers(statistics: statistics, length: length, parts: parts, partsLength: parts_length))
    }
}

@_cdecl("segloss_program_value_and_gradient") @implementation
public func segloss_program_value_and_gradient(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!,
    _ gradients: UnsafePointer<UnsafePointer<segloss_tensor>?>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try BoundPrograms.run(
            ProgramCall(
                kind: .valueAndGradient, program: program, size: size, arrays: arrays, count: count, number: value,
                gradients: gradients),
            Request.Numbers(statistics: statistics, length: length, parts: parts, partsLength: parts_length))
    }
}

@_cdecl("segloss_program_value") @implementation
public func segloss_program_value(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ parts: UnsafeMutablePointer<Double>!,
    _ parts_length: Int64, _ value: UnsafePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try BoundPrograms.run(
            ProgramCall(kind: .value, program: program, size: size, arrays: arrays, count: count, number: value),
            Request.Numbers(
                statistics: UnsafeMutablePointer(mutating: statistics), length: length, parts: parts,
                partsLength: parts_length))
    }
}

@_cdecl("segloss_program_gradient") @implementation
public func segloss_program_gradient(
    _ program: UnsafeRawPointer!, _ size: Int64, _ arrays: UnsafePointer<segloss_tensor>!, _ count: Int32,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ gradients: UnsafePointer<UnsafePointer<segloss_tensor>?>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try BoundPrograms.run(
            ProgramCall(
                kind: .gradient, program: program, size: size, arrays: arrays, count: count, number: grad_output,
                gradients: gradients),
            Request.Numbers(statistics: UnsafeMutablePointer(mutating: statistics), length: length))
    }
}

@_cdecl("segloss_program_run") @implementation
public func segloss_program_run(
    _ call: UnsafePointer<segloss_program_call>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        guard let call else { throw LossError(.nullPointer, "call: expected a struct, got NULL") }
        let c = try options("call", call, segloss_program_call())
        guard let kind = ProgramCall.Kind(rawValue: c.task), kind != .shapes else {
            throw LossError(.option, "task: expected 0 to 3 (SEGLOSS_PROGRAM_FORWARD …), got \(c.task)")
        }
        var numbers = Request.Numbers(statistics: c.statistics, length: c.length)
        if kind != .gradient { (numbers.parts, numbers.partsLength) = (c.parts, c.parts_length) }
        try BoundPrograms.run(
            ProgramCall(
                kind: kind, program: c.program, size: c.size, arrays: c.arrays, count: c.count, number: c.number,
                gradients: c.gradients, addresses: c.addresses),
            numbers)
    }
}
