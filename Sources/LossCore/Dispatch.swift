import CSystem
import KernelTable

/// The instruction sets that the kernels are compiled for.
public enum InstructionSet: Int32, CaseIterable, Sendable {
    case baseline = 0
    case avx2 = 1
    case avx512 = 2

    public var name: StaticString {
        switch self {
        case .baseline: "baseline"
        case .avx2: "avx2"
        case .avx512: "avx512"
        }
    }

    public var isSupported: Bool { rawValue <= csystem_cpu_level() }

    func makeKernels() -> KernelTable {
        #if arch(x86_64)
            switch self {
            case .baseline: return loss_kernels_baseline()
            case .avx2: return loss_kernels_avx2()
            case .avx512: return loss_kernels_avx512()
            }
        #else
            return loss_kernels_baseline()
        #endif
    }
}

/// Which kernels this process runs, decided once: the best level of the processor, or what `SEGLOSS_ISA` forces.
public struct Dispatch: @unchecked Sendable {
    public let instructionSet: InstructionSet
    /// Behind a pointer, so that the table's size is nobody's business outside this module.
    let kernels: UnsafePointer<KernelTable>
    /// A wrong `SEGLOSS_ISA`: every call is refused with it.
    public let failure: LossError?

    public static let current = Dispatch()

    init(_ forced: InstructionSet) {
        instructionSet = forced
        kernels = Self.table(forced)
        failure = nil
    }

    private init() {
        let best = InstructionSet.allCases.last { $0.isSupported } ?? .baseline
        var chosen = best
        var failure: LossError?
        if let value = getenv("SEGLOSS_ISA"), value.pointee != 0 {
            if let wanted = InstructionSet.allCases.first(where: { strcmp($0.cString, value) == 0 }) {
                if wanted.isSupported {
                    chosen = wanted
                } else {
                    failure = LossError(
                        .instructionSet,
                        "SEGLOSS_ISA: this processor lacks \(wanted.name); the best that it has is \(best.name)")
                }
            } else {
                failure = LossError(
                    .instructionSet,
                    "SEGLOSS_ISA: expected baseline, avx2 or avx512, got \(String(cString: value))")
            }
        }
        instructionSet = chosen
        kernels = Self.table(chosen)
        self.failure = failure
    }

    private static func table(_ level: InstructionSet) -> UnsafePointer<KernelTable> {
        let table = UnsafeMutablePointer<KernelTable>.allocate(capacity: 1)
        table.initialize(to: level.makeKernels())
        return UnsafePointer(table)
    }
}

extension InstructionSet {
    fileprivate var cString: UnsafePointer<CChar> {
        UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    }
}
