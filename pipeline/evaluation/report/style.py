"""How the page looks: one quiet column, light or dark as the reader has it, readable on a phone and on paper.

Colours are of the palette by Okabe and Ito, which people tell apart whatever colours they see; none says something alone.

Belongs here: style sheets. Not here: markup.
"""

from __future__ import annotations

LIGHT = """
--paper:#fff;--ink:#1c1c1a;--soft:#62625c;--rule:#dcdcd5;--wash:#f5f5f1;--good:#0072b2;--bad:#b84a00;
--heat:230 110 20;--cool:0 114 178;
"""
DARK = """
--paper:#161615;--ink:#e8e8e3;--soft:#a3a39b;--rule:#3a3a37;--wash:#20201e;--good:#6fc1f0;--bad:#f0924e;
--heat:225 110 30;--cool:60 140 200;
"""

DRAWING = """
svg{font:11px system-ui,-apple-system,"Segoe UI",sans-serif}
svg text{fill:var(--soft)}svg text.strong{fill:var(--ink)}
svg .axis,svg .grid{stroke:var(--rule);fill:none}svg .bar{stroke:var(--good);stroke-width:2;fill:none}
svg .dot{fill:var(--good);stroke:var(--good)}svg .hollow{fill:var(--paper);stroke:var(--good);stroke-width:1.5}
svg .track{stroke:var(--good);stroke-width:1.5;fill:none}svg .band{fill:var(--good);opacity:.14;stroke:none}
svg .bad{stroke:var(--bad)}svg .bad.dot{fill:var(--bad)}svg .bound{stroke:var(--bad);stroke-dasharray:4 3;fill:none}
svg .second{stroke:var(--bad)}svg .second.dot{fill:var(--bad)}
"""
"""Of pictures alone: `drawing.picture` carries it along for places without a page around them."""

PAGE = (
    f":root{{{LIGHT}color-scheme:light dark}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}".replace("\n", "")
    + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
header>*,section>*{max-width:44rem}
.wide{max-width:100%;overflow-x:auto}
h1{font-size:1.9rem;line-height:1.22;font-weight:600;letter-spacing:-.012em;margin:.35rem 0 1rem;text-wrap:balance}
h2{font-size:1.2rem;line-height:1.3;font-weight:600;margin:3.2rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--rule)}
section>h2{max-width:100%}
h3{font-size:1rem;font-weight:600;margin:1.8rem 0 .3rem}
p{margin:.5rem 0 .8rem}
.soft,caption,figcaption,.about{color:var(--soft)}
.about{font-size:.9rem;margin:0}
code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere;unicode-bidi:isolate}
a{color:inherit}
ul.verdict{list-style:none;margin:1.2rem 0 0;padding:0}
ul.verdict li{display:flex;padding:.45rem 0;border-top:1px solid var(--rule)}
ul.verdict li:last-child{border-bottom:1px solid var(--rule)}
.mark{flex:0 0 1.6rem;font-weight:700;color:var(--good)}
.bad>.mark,td.bad{color:var(--bad)}
.heard{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.note .mark{color:var(--soft)}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.6rem 0 1.2rem;
line-height:1.35;min-width:min(100%,21rem)}
caption{text-align:left;font-size:.9rem;padding:.2rem 0 .45rem}
th,td{text-align:left;vertical-align:baseline;padding:.28rem .9rem .28rem 0;border-bottom:1px solid var(--rule);font-weight:400}
th:last-child,td:last-child{padding-right:0}
thead th{font-size:.8rem;color:var(--soft);vertical-align:bottom;white-space:nowrap}
th.group{font-size:.8rem;color:var(--soft);padding-top:1rem}
.n{text-align:right;white-space:nowrap}
.fixed,.fixed code{white-space:nowrap}
.long{min-width:15rem}
th.plot{min-width:150px}
td.plot{padding-top:0;padding-bottom:0;vertical-align:middle;line-height:0}
td.heat,th.heat{text-align:right;padding:.28rem .55rem;min-width:3.6rem;white-space:nowrap}
td.heat{background:rgb(var(--heat)/calc(var(--x)*.7));border-color:var(--paper)}
td.cool{background:rgb(var(--cool)/calc(var(--x)*.45))}
.broken{color:var(--bad);font-weight:600}
svg{display:block;max-width:100%;height:auto}
figure{margin:1rem 0 1.4rem}
figcaption{font-size:.9rem;margin-bottom:.4rem}
.many{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:.4rem 2rem;max-width:100%}
ol.queries{list-style:none;padding:0;margin:.8rem 0}
ol.queries>li{border-top:1px solid var(--rule);padding:.7rem 0}
ol.queries p{margin:0 0 .15rem}
ol.queries .asked{font-weight:600;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.25rem 1.2rem;margin:.4rem 0;font-size:.9rem}
ol.queries dl{margin:.3rem 0 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere;min-width:0}
details{margin:.8rem 0}
summary{cursor:pointer;font-size:.95rem}
details dl{grid-template-columns:1fr;gap:0}
details dt{color:var(--ink);font-weight:600;margin-top:.7rem}
@media(max-width:640px){
main{padding:1.4rem 1rem 3rem}h1{font-size:1.45rem}h2{margin-top:2.4rem}
.roomy{display:none}figure svg[width="640"]{max-width:none;width:560px}
th,td{padding-right:.6rem}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.35rem}
}
@media print{
:root{"""
    + LIGHT.replace("\n", "")
    + """}body{font-size:10.5pt}main{max-width:none;padding:0}h2{break-after:avoid;margin-top:1.6rem}
tr,figure,ol.queries>li{break-inside:avoid}.wide{overflow:visible}td.heat{print-color-adjust:exact;-webkit-print-color-adjust:exact}
details::details-content{content-visibility:visible;block-size:auto}summary{list-style:none}
}
"""
)
