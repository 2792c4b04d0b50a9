package compare

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// ratios are the points and error bars of one load's ratios.
type ratios struct {
	plotter.XYs
	plotter.XErrors
}

// drawChart draws the ratios to the bare proxy for small requests, as SVG.
func drawChart(rows []row, file string) error {
	p := plot.New()
	p.Title.Text = "Small GETs a second, relative to a bare reverse_proxy in the same binary"
	p.X.Label.Text = "ratio: median, and middle half of the pairs"
	p.X.Scale = plot.LogScale{}
	var ticks plot.ConstantTicks
	for _, ratio := range []float64{0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 5, 10} {
		ticks = append(ticks, plot.Tick{Value: ratio, Label: fmt.Sprint(ratio)})
	}
	p.X.Tick.Marker = ticks
	p.Legend.Top = true
	var names []string
	position := make(map[string]float64)
	for i := len(versus) - 1; i >= 0; i-- {
		if versus[i][1] == bare && versus[i][0] != untuned && versus[i][0] != unguided {
			position[versus[i][0]] = float64(len(names))
			names = append(names, versus[i][0])
		}
	}
	colours := []color.RGBA{{R: 31, G: 119, B: 180, A: 255}, {R: 214, G: 96, B: 20, A: 255}, {R: 44, G: 140, B: 44, A: 255},
		{R: 148, G: 103, B: 189, A: 255}, {R: 140, G: 86, B: 75, A: 255}, {R: 90, G: 90, B: 90, A: 255}}
	series := 0
	for _, l := range smallLoads(rows) {
		var points ratios
		for _, r := range rows {
			at, there := position[r.a]
			if r.load.name != l || r.b != bare || !there {
				continue
			}
			y := at + 0.3 - 0.12*float64(series)
			points.XYs = append(points.XYs, plotter.XY{X: r.ratio.Median, Y: y})
			points.XErrors = append(points.XErrors, struct{ Low, High float64 }{r.ratio.Low - r.ratio.Median, r.ratio.High - r.ratio.Median})
		}
		scatter, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		bars, err := plotter.NewXErrorBars(points)
		if err != nil {
			return err
		}
		scatter.Color = colours[series%len(colours)]
		scatter.Radius = vg.Points(3)
		bars.Color = scatter.Color
		p.Add(scatter, bars)
		p.Legend.Add(l, scatter)
		series++
	}
	reference, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(names)) - 0.5}})
	if err != nil {
		return err
	}
	p.Add(reference, plotter.NewGrid())
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0.7, 10
	p.Y.Tick.Label.Font.Size = 8 // Who has not the font takes a wider one.
	if err := p.Save(9*vg.Inch, 5*vg.Inch, file); err != nil {
		return fmt.Errorf("drawing the chart: %w", err)
	}
	return nil
}

// smallLoads are the names of the loads of small requests in rows, in their order.
func smallLoads(rows []row) []string {
	var names []string
	for _, r := range rows {
		if r.load.upload == "" && r.load.requests == 0 && (len(names) == 0 || names[len(names)-1] != r.load.name) {
			names = append(names, r.load.name)
		}
	}
	return names
}
