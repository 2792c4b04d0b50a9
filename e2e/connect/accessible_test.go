package connect

// accessible checks the basics of WCAG 2.2 on the page that a visitor sees: language
// (3.1.1), title (2.4.2), one heading and one main landmark with all the text in it
// (1.3.1), contrast (1.4.3), no sideways scrolling on a narrow screen (1.4.10). There
// is no script and nothing that is loaded.
func (v *visitor) accessible() {
	v.Helper()
	var page struct {
		Lang, Title, Heading, Outside       string
		Headings, Mains, Scripts, Resources int
		Contrast                            float64
		Zoomable, Narrow                    bool
	}
	v.Check(v.Eval(v.Ctx, inspect, &page))
	if page.Lang != "en" || page.Title == "" || page.Title != page.Heading || page.Headings != 1 || page.Mains != 1 || page.Outside != "" ||
		page.Contrast < 4.5 || !page.Zoomable || !page.Narrow || page.Scripts != 0 || page.Resources != 0 {
		v.Errorf("%+v", page)
	}
}

// inspect is a JavaScript expression; contrast is as WCAG 2.2 defines it.
const inspect = `(() => {
	const channels = color => color.match(/[\d.]+/g).map(Number)
	const luminance = color => channels(color).slice(0, 3)
		.map(c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
	const background = element => {
		for (; element; element = element.parentElement) {
			const color = getComputedStyle(element).backgroundColor
			if (channels(color)[3] !== 0) return color
		}
		return 'rgb(255, 255, 255)'
	}
	const contrast = element => {
		const [light, dark] = [getComputedStyle(element).color, background(element)].map(luminance).sort((a, b) => b - a)
		return (light + 0.05) / (dark + 0.05)
	}
	const main = document.querySelector('main')
	const texts = [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
	const viewport = document.querySelector('meta[name=viewport]')?.content ?? ''
	document.body.style.width = '320px'
	const narrow = document.documentElement.scrollWidth <= Math.max(320, innerWidth)
	document.body.style.width = ''
	return {
		lang: document.documentElement.lang,
		title: document.title,
		heading: document.querySelector('h1')?.innerText,
		headings: document.querySelectorAll('h1').length,
		mains: document.querySelectorAll('main').length,
		outside: texts.filter(e => !main.contains(e)).map(e => e.innerText).join(),
		contrast: Math.min(...texts.map(contrast)),
		zoomable: viewport.includes('width=device-width') && !/user-scalable|maximum-scale/.test(viewport),
		narrow,
		scripts: document.scripts.length,
		resources: performance.getEntriesByType('resource').filter(r => !r.name.endsWith('/favicon.ico')).length,
	}
})()`
