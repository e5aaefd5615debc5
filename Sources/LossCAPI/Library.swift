import CLosses
import LossCore

@_cdecl("segloss_version") @implementation
public func segloss_version() -> UnsafePointer<CChar>! { text(Library.version) }

@_cdecl("segloss_status_name") @implementation
public func segloss_status_name(_ status: Int32) -> UnsafePointer<CChar>! {
    if status == 0 { return text("SEGLOSS_OK") }
    switch Status(rawValue: status) {
    case .nullPointer: return text("SEGLOSS_NULL_POINTER")
    case .rank: return text("SEGLOSS_RANK")
    case .shape: return text("SEGLOSS_SHAPE")
    case .elementType: return text("SEGLOSS_ELEMENT_TYPE")
    case .layout: return text("SEGLOSS_LAYOUT")
    case .device: return text("SEGLOSS_DEVICE")
    case .overlap: return text("SEGLOSS_OVERLAP")
    case .option: return text("SEGLOSS_OPTION")
    case .unsupported: return text("SEGLOSS_UNSUPPORTED")
    case .outOfRange: return text("SEGLOSS_OUT_OF_RANGE")
    case .nonFinite: return text("SEGLOSS_NON_FINITE")
    case .statistics: return text("SEGLOSS_STATISTICS")
    case .outOfMemory: return text("SEGLOSS_OUT_OF_MEMORY")
    case .instructionSet: return text("SEGLOSS_INSTRUCTION_SET")
    case .structSize: return text("SEGLOSS_STRUCT_SIZE")
    case nil: return text("SEGLOSS_UNKNOWN")
    }
}

@_cdecl("segloss_instruction_set") @implementation
public func segloss_instruction_set(_ error: UnsafeMutablePointer<segloss_error>!) -> UnsafePointer<CChar>! {
    status(error) { () throws(LossError) in } == 0 ? text(Dispatch.current.instructionSet.name) : nil
}

@_cdecl("segloss_set_num_threads") @implementation
public func segloss_set_num_threads(_ n: Int32) { Threads.count = Int(n) }

@_cdecl("segloss_num_threads") @implementation
public func segloss_num_threads() -> Int32 {
    // What is made here for the first time must be made before a fork.
    Calls.enter()
    defer { Calls.leave() }
    return Int32(Threads.count)
}

@_cdecl("segloss_set_runner") @implementation
public func segloss_set_runner(_ run: segloss_run!, _ context: UnsafeMutableRawPointer!, _ threads: Int32) {
    Threads.setRunner(run, context: context, threads: Int(threads))
}

@_cdecl("segloss_set_openmp") @implementation
public func segloss_set_openmp(_ parallel: segloss_omp_parallel!, _ maxThreads: segloss_omp_max_threads!) {
    Threads.setOpenMP(parallel, maxThreads: maxThreads)
}

@_cdecl("segloss_shutdown") @implementation
public func segloss_shutdown() {
    Calls.enter()
    defer { Calls.leave() }
    BoundPrograms.release()
    Threads.shutdown()
}

private func text(_ string: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(string.utf8Start).assumingMemoryBound(to: CChar.self)
}

#if os(Linux)
    /// As the library loads, before there is a call that a fork could meet.
    @section(".init_array") @used
    private let watchForks: @convention(c) () -> Void = { Threads.watchForks() }
#endif
