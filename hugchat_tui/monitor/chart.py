"""A widget that shows one chart."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from hugchat_tui.monitor.picture import GRID, Picture, behind, draw
from hugchat_tui.monitor.traces import ChartView, Measure, Trace

_BEHIND = behind("")


class Chart(Widget):
    """Draws traces when it is asked for rows, and only if something changed since it last did.

    view: shared with other charts. words: said while there is nothing to draw. active: the keys mean this one.
    """

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Chart { width: 1fr; height: 1fr; }
    """

    class Pointed(Message):
        """A place on the axis was clicked, or the wheel was turned there: by +1 away, by -1 towards the person."""

        def __init__(self, chart: Chart, x: float, turned: int = 0) -> None:
            super().__init__()
            self.chart = chart
            self.x = x
            self.turned = turned

    def __init__(self, measure: Measure, view: ChartView) -> None:
        super().__init__()
        self.measure = measure
        self.view = view
        self.traces: Sequence[Trace] = ()
        self.logarithmic = False
        self.active = False
        self.words = ""
        self._picture: Picture | None = None
        self._strips: list[Strip] = []
        self._styles: dict[str, RichStyle] = {}

    @property
    def plot_width(self) -> int:
        """Columns of the plot; 0 where nothing is drawn."""
        return self._drawn().width

    def redraw(self) -> None:
        """Something that it shows has changed."""
        self._picture = None
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()
        self._picture = None

    def on_resize(self) -> None:
        self._picture = None

    def _drawn(self) -> Picture:
        if self._picture is None:
            width, height = self.size
            self._picture = draw(
                self.traces,
                self.measure,
                self.view,
                width,
                height,
                log=self.logarithmic,
                active=self.active,
                words=self.words,
            )
            self._strips = []
            for row in self._picture.rows:
                strip = Strip(Segment(text, self._style(tone)) for text, tone in row)
                self._strips.append(strip.adjust_cell_length(width, self._style("")))
        return self._picture

    def render_line(self, y: int) -> Strip:
        self._drawn()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self._style(""))

    def _style(self, tone: str) -> RichStyle:
        style = self._styles.get(tone)
        if style is None:
            style = (self.visual_style + Style.parse(self._colour(tone))).rich_style
            self._styles[tone] = style
        return style

    def _colour(self, tone: str) -> str:
        if tone == GRID:
            # The sixteen colours know no shades.
            return "ansi_bright_black" if self.app.native_ansi_color else "$foreground 20%"
        if tone.startswith(_BEHIND):
            return "ansi_bright_black" if self.app.native_ansi_color else f"{tone.removeprefix(_BEHIND)} 45%"
        return tone

    def _place(self, event: events.MouseEvent) -> float | None:
        """Where on the axis the mouse is."""
        picture = self._drawn()
        column = event.x - picture.left
        if not 0 <= column < picture.width:
            return None
        left, right = self.view.shown
        return left + (column + 0.5) / picture.width * (right - left)

    def on_click(self, event: events.Click) -> None:
        x = self._place(event)
        if x is not None:
            self.post_message(self.Pointed(self, x))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._turned(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._turned(event, -1)

    def _turned(self, event: events.MouseEvent, direction: int) -> None:
        x = self._place(event)
        if x is not None:
            event.stop()
            self.post_message(self.Pointed(self, x, direction))
