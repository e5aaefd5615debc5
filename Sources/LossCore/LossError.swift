import KernelTable

/// Why a call was refused. The numbers are those of `segloss_status` in include/losses.h.
public enum Status: Int32, Sendable {
    case nullPointer = 1
    case rank = 2
    case shape = 3
    case elementType = 4
    case layout = 5
    case device = 6
    case overlap = 7
    case option = 8
    case unsupported = 9
    case outOfRange = 10
    case nonFinite = 11
    case statistics = 12
    case outOfMemory = 13
    case instructionSet = 14
    case structSize = 15
}

/// A refusal: its status, and a sentence that names the argument, what was expected and what came.
public struct LossError: Error, Sendable {
    public let status: Status
    public let sentence: String

    public init(_ status: Status, _ sentence: String) {
        self.status = status
        self.sentence = sentence
    }
}
