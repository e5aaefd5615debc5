import CLosses
import LossCore

private func term(_ o: segloss_db_options) throws(LossError) -> DB {
    try requireFinite("alpha", o.alpha)
    try requireFinite("beta", o.beta)
    try requireFinite("step_k", o.step_k)
    guard (0...Int32(SEGLOSS_DB_PAPER)).contains(o.variant) else {
        throw LossError(.option, "variant: expected 0 to 2, got \(o.variant)")
    }
    let isPublished = o.variant == SEGLOSS_DB_PUBLISHED
    let main = try mainLoss(o.main_loss)
    guard isPublished || main == .bce else {
        throw LossError(.unsupported, "main_loss: only the published variant has another one than BCE")
    }
    // Upstream's Balance keeps its own eps, whatever DBLoss is given.
    let balanceEps = segloss_balance_options_default().eps
    func balance(_ crossEntropy: Balance.CrossEntropy, truncates: Bool) throws(LossError) -> Balance {
        try Balance(
            main: main, isBalanced: flag("balance_loss", o.balance_loss), ratio: o.negative_ratio, eps: balanceEps,
            crossEntropy: crossEntropy, truncatesWeights: truncates,
            fallbackNegatives: Int(o.fallback_negative_num), isClean: false)
    }
    let isPaper = o.variant == SEGLOSS_DB_PAPER
    let hasStep = isPaper && o.step_k != 0
    return try DB(
        shrink: balance(isPublished ? .log : .log1p, truncates: o.variant == SEGLOSS_DB_WENMUZHOU),
        threshold: MaskL1(eps: o.eps),
        binary: isPaper
            ? .balance(balance(hasStep ? .logits : .log1p, truncates: false)) : .dice(MaskDice(eps: o.eps)),
        shrinkWeight: isPaper ? 1 : o.alpha, thresholdWeight: o.beta, binaryWeight: isPaper ? o.alpha : 1,
        step: hasStep ? o.step_k : nil)
}

private func loss(
    _ prob: UnsafePointer<segloss_tensor>?, _ thresh: UnsafePointer<segloss_tensor>?,
    _ binary: UnsafePointer<segloss_tensor>?, _ threshold_map: UnsafePointer<segloss_tensor>?,
    _ threshold_mask: UnsafePointer<segloss_tensor>?, _ shrink_map: UnsafePointer<segloss_tensor>?,
    _ shrink_mask: UnsafePointer<segloss_tensor>?, _ options: UnsafePointer<segloss_db_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> DBLoss {
    let o = try LossCore.options("options", options, segloss_db_options_default(Int32(SEGLOSS_DB_PUBLISHED)))
    let isShrinkOnly =
        o.variant == Int32(SEGLOSS_DB_WENMUZHOU) && thresh == nil && binary == nil
        && threshold_map == nil && threshold_mask == nil
    return try DBLoss(
        term(o), prob: tensor("prob", prob), shrinkMap: tensor("shrink_map", shrink_map),
        shrinkMask: tensor("shrink_mask", shrink_mask),
        maps: isShrinkOnly
            ? nil
            : DBLoss.Maps(
                thresh: tensor("thresh", thresh), binary: tensor("binary", binary),
                thresholdMap: tensor("threshold_map", threshold_map),
                thresholdMask: tensor("threshold_mask", threshold_mask)),
        execution(run))
}

private func write(_ parts: DB.Parts, to out: UnsafeMutablePointer<segloss_db_parts>?) {
    write(
        segloss_db_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, loss_shrink_maps: parts.shrink,
            loss_threshold_maps: parts.threshold, loss_binary_maps: parts.binary, positives: parts.positives,
            negatives: parts.negatives, threshold_count: parts.thresholdCount), to: out)
}

@_cdecl("segloss_db") @implementation
public func segloss_db(
    _ prob: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ binary: UnsafePointer<segloss_tensor>!, _ threshold_map: UnsafePointer<segloss_tensor>!,
    _ threshold_mask: UnsafePointer<segloss_tensor>!, _ shrink_map: UnsafePointer<segloss_tensor>!,
    _ shrink_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_db_options>!,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_db_parts>!,
    _ grad_prob: UnsafePointer<segloss_tensor>!, _ grad_thresh: UnsafePointer<segloss_tensor>!,
    _ grad_binary: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        let loss = try loss(
            prob, thresh, binary, threshold_map, threshold_mask, shrink_map, shrink_mask, options, execution)
        write(
            try loss(
                gradOutput: grad_output,
                gradients: gradients(
                    ("grad_prob", grad_prob), ("grad_thresh", grad_thresh), ("grad_binary", grad_binary))), to: parts)
    }
}

@_cdecl("segloss_db_statistics") @implementation
public func segloss_db_statistics(
    _ prob: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ binary: UnsafePointer<segloss_tensor>!, _ threshold_map: UnsafePointer<segloss_tensor>!,
    _ threshold_mask: UnsafePointer<segloss_tensor>!, _ shrink_map: UnsafePointer<segloss_tensor>!,
    _ shrink_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_db_options>!,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(
            loss(prob, thresh, binary, threshold_map, threshold_mask, shrink_map, shrink_mask, options, execution),
            to: statistics, length)
    }
}

@_cdecl("segloss_db_finish") @implementation
public func segloss_db_finish(
    _ prob: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ binary: UnsafePointer<segloss_tensor>!, _ threshold_map: UnsafePointer<segloss_tensor>!,
    _ threshold_mask: UnsafePointer<segloss_tensor>!, _ shrink_map: UnsafePointer<segloss_tensor>!,
    _ shrink_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_db_options>!,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_db_parts>!, _ grad_prob: UnsafePointer<segloss_tensor>!,
    _ grad_thresh: UnsafePointer<segloss_tensor>!, _ grad_binary: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        write(
            try finish(
                loss(prob, thresh, binary, threshold_map, threshold_mask, shrink_map, shrink_mask, options, execution),
                statistics, length, grad_output,
                gradients(
                    ("grad_prob", grad_prob), ("grad_thresh", grad_thresh), ("grad_binary", grad_binary))), to: parts)
    }
}

extension Entry {
    static let db = Entry("db", gradients: ["grad_prob", "grad_thresh", "grad_binary"], constants: 4) {
        (t, o, e, run) throws(LossError) in
        try run(loss(t[0], t[1], t[2], t[3], t[4], t[5], t[6], o.bound(), e), write)
    }
}
