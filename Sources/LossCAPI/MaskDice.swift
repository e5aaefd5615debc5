import CLosses
import LossCore

private func loss(
    _ pred: UnsafePointer<segloss_tensor>?, _ gt: UnsafePointer<segloss_tensor>?,
    _ mask: UnsafePointer<segloss_tensor>?, _ weights: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_mask_dice_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> MaskDiceLoss {
    let o = try options("options", pointer, segloss_mask_dice_options_default())
    try requireUnused(o.reserved)
    return try MaskDiceLoss(
        MaskDice(eps: o.eps), pred: tensor("pred", pred), gt: tensor("gt", gt), mask: tensor("mask", mask),
        weights: optionalTensor("weights", weights), execution(run))
}

private func write(_ parts: MaskDice.Parts, to out: UnsafeMutablePointer<segloss_mask_dice_parts>?) {
    write(
        segloss_mask_dice_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, intersection: parts.intersection, union_: parts.union),
        to: out)
}

@_cdecl("segloss_mask_dice") @implementation
public func segloss_mask_dice(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ weights: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_mask_dice_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_mask_dice_parts>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(pred, gt, mask, weights, options, execution), parts, grad_output, ("grad_pred", grad_pred), write)
    }
}

@_cdecl("segloss_mask_dice_statistics") @implementation
public func segloss_mask_dice_statistics(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ weights: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_mask_dice_options>!, _ statistics: UnsafeMutablePointer<Double>!,
    _ length: Int64, _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(pred, gt, mask, weights, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_mask_dice_finish") @implementation
public func segloss_mask_dice_finish(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ weights: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_mask_dice_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_mask_dice_parts>!,
    _ grad_pred: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(pred, gt, mask, weights, options, execution), statistics, length, parts, grad_output,
            ("grad_pred", grad_pred), write)
    }
}

extension Entry {
    static let maskDice = Entry("mask_dice", gradients: ["grad_pred"], constants: 3) {
        (t, o, e, run) throws(LossError) in
        try run(loss(t[0], t[1], t[2], t[3], o.bound(), e), write)
    }
}
