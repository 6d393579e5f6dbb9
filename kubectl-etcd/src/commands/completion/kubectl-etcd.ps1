# PowerShell completion for kubectl-etcd.

Register-ArgumentCompleter -Native -CommandName 'kubectl-etcd' -ScriptBlock {
    param($WordToComplete, $CommandAst, $CursorPosition)
    $Words = @($CommandAst.CommandElements | Where-Object { $_.Extent.EndOffset -le $CursorPosition } | ForEach-Object { $_.ToString() })
    $Program = $Words[0]
    $Before = @($Words | Select-Object -Skip 1)
    if ($WordToComplete -ne '' -and $Before.Count -gt 0) {
        $Before = @($Before | Select-Object -SkipLast 1)
    }
    # Older versions drop an empty argument.
    $Last = $WordToComplete
    if ($Last -eq '' -and ($PSVersionTable.PSVersion -lt [version]'7.3.0' -or $PSNativeCommandArgumentPassing -eq 'Legacy')) {
        $Last = '""'
    }
    & $Program __complete @Before $Last 2>$null | Where-Object { $_ -notmatch '^:\d+$' } | ForEach-Object {
        $Name, $Help = $_ -split "`t", 2
        if (-not $Help) { $Help = $Name }
        [System.Management.Automation.CompletionResult]::new($Name, $Name, 'ParameterValue', $Help)
    }
}
