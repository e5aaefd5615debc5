import CLosses
import LossCore

private func term(_ pointer: UnsafePointer<segloss_l1_balance_ce_options>?) throws(LossError) -> DB {
    let o = try options("options", pointer, segloss_l1_balance_ce_options_default())
    try requireUnused(o.reserved)
    try requireFinite("l1_scale", o.l1_scale)
    try requireFinite("bce_scale", o.bce_scale)
    let balance = segloss_balance_options_default()
    return try DB(
        shrink: Balance(
            main: .bce, isBalanced: true, ratio: o.negative_ratio, eps: balance.eps, crossEntropy: .log1p,
            truncatesWeights: true, fallbackNegatives: Int(balance.fallback_negative_num), isClean: false),
        threshold: MaskL1(eps: 0), binary: .dice(MaskDice(eps: o.eps)), shrinkWeight: o.bce_scale,
        thresholdWeight: o.l1_scale, binaryWeight: 1, step: nil)
}

private func loss(
    _ binary: UnsafePointer<segloss_tensor>?, _ thresh: UnsafePointer<segloss_tensor>?,
    _ thresh_binary: UnsafePointer<segloss_tensor>?, _ gt: UnsafePointer<segloss_tensor>?,
    _ mask: UnsafePointer<segloss_tensor>?, _ thresh_map: UnsafePointer<segloss_tensor>?,
    _ thresh_mask: UnsafePointer<segloss_tensor>?, _ options: UnsafePointer<segloss_l1_balance_ce_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> DBLoss {
    let isShrinkOnly = thresh == nil && thresh_binary == nil && thresh_map == nil && thresh_mask == nil
    return try DBLoss(
        term(options), prob: tensor("binary", binary), shrinkMap: tensor("gt", gt), shrinkMask: tensor("mask", mask),
        maps: isShrinkOnly
            ? nil
            : DBLoss.Maps(
                thresh: tensor("thresh", thresh), binary: tensor("thresh_binary", thresh_binary),
                thresholdMap: tensor("thresh_map", thresh_map), thresholdMask: tensor("thresh_mask", thresh_mask)),
        execution(run))
}

private func write(_ parts: DB.Parts, to out: UnsafeMutablePointer<segloss_l1_balance_ce_parts>?) {
    write(
        segloss_l1_balance_ce_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, bce_loss: parts.unweighted.shrink,
            l1_loss: parts.unweighted.threshold, dice_loss: parts.unweighted.binary, positives: parts.positives,
            negatives: parts.negatives, threshold_count: parts.thresholdCount), to: out)
}

@_cdecl("segloss_l1_balance_ce") @implementation
public func segloss_l1_balance_ce(
    _ binary: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ thresh_binary: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ thresh_map: UnsafePointer<segloss_tensor>!,
    _ thresh_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_l1_balance_ce_options>!,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_l1_balance_ce_parts>!,
    _ grad_binary: UnsafePointer<segloss_tensor>!, _ grad_thresh: UnsafePointer<segloss_tensor>!,
    _ grad_thresh_binary: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        let loss = try loss(binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask, options, execution)
        write(
            try loss(
                gradOutput: grad_output,
                gradients: gradients(
                    ("grad_binary", grad_binary), ("grad_thresh", grad_thresh),
                    ("grad_thresh_binary", grad_thresh_binary))),
            to: parts)
    }
}

@_cdecl("segloss_l1_balance_ce_statistics") @implementation
public func segloss_l1_balance_ce_statistics(
    _ binary: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ thresh_binary: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ thresh_map: UnsafePointer<segloss_tensor>!,
    _ thresh_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_l1_balance_ce_options>!,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(
            loss(binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask, options, execution),
            to: statistics, length)
    }
}

@_cdecl("segloss_l1_balance_ce_finish") @implementation
public func segloss_l1_balance_ce_finish(
    _ binary: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ thresh_binary: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ thresh_map: UnsafePointer<segloss_tensor>!,
    _ thresh_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_l1_balance_ce_options>!,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_l1_balance_ce_parts>!, _ grad_binary: UnsafePointer<segloss_tensor>!,
    _ grad_thresh: UnsafePointer<segloss_tensor>!, _ grad_thresh_binary: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        write(
            try finish(
                loss(binary, thresh, thresh_binary, gt, mask, thresh_map, thresh_mask, options, execution),
                statistics, length, grad_output,
                gradients(
                    ("grad_binary", grad_binary), ("grad_thresh", grad_thresh),
                    ("grad_thresh_binary", grad_thresh_binary))), to: parts)
    }
}

extension Entry {
    static let l1BalanceCE = Entry(
        "l1_balance_ce", gradients: ["grad_binary", "grad_thresh", "grad_thresh_binary"], constants: 4
    ) { (t, o, e, run) throws(LossError) in
        try run(loss(t[0], t[1], t[2], t[3], t[4], t[5], t[6], o.bound(), e), write)
    }
}
