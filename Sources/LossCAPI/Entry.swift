import CLosses
import LossCore

/// What a program calls: one row for each loss, which stands in the loss's file.
struct Entry: Sendable {
    typealias Bind =
        @Sendable (Parameters, Options, UnsafePointer<segloss_execution>, Request) throws(LossError) -> Request.Run

    let name: StaticString
    /// The gradients' names: one for each prediction, or one for each level that a list may have.
    let gradients: [StaticString]
    /// Tensors after the predictions.
    let constants: Int
    let isList: Bool
    /// Makes the loss of its arguments, and what the request makes of it.
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
