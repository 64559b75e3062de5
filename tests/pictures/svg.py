"""A picture in SVG that can be read on light and dark pages."""

from html import escape

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #24292f }
.strong { font-weight: 600 }
.quiet { font-size: 12px; fill: #57606a }
.middle { text-anchor: middle }
.end { text-anchor: end }
.box { fill: #f6f8fa; stroke: #8c959f }
.bar { fill: #bf5b1d }
.line { stroke: #8c959f; stroke-width: 1.5; fill: none }
.head { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9da7b3 }
  .box { fill: #161b22; stroke: #6e7681 }
  .bar { fill: #e3803f }
  .line { stroke: #6e7681 }
  .head { fill: #6e7681 }
}
"""


class Picture:
    """Shapes are added one after the other; later ones lie on top."""

    def __init__(self, width, height, title):
        self.shapes = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        ]

    def text(self, x, y, text, kind=""):
        self.shapes.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>')

    def box(self, x, y, width, height):
        self.shapes.append(f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>')

    def bar(self, x, y, width, height):
        self.shapes.append(f'<rect class="bar" x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}" rx="2"/>')

    def line(self, x, y, to_x, to_y):
        self.shapes.append(f'<path class="line" d="M{x:g} {y:g} L{to_x:g} {to_y:g}"/>')

    def arrow(self, x, y, to_x, to_y):
        self.shapes.append(f'<path class="line" d="M{x} {y} L{to_x} {to_y}" marker-end="url(#head)"/>')

    def source(self):
        return "\n".join([*self.shapes, "</svg>", ""])
