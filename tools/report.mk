# The page of `seep report`: sources in analyzer/report/html/src, bundled into bundle.js and bundle.css, which are checked in so
# that a build needs no node; `make report-bundle` makes them anew (tests/lint/report_bundle.sh compares).
REPORT_HTML := analyzer/report/html
REPORT_GEN  := $(BUILD)/gen/report_js.inc $(BUILD)/gen/report_css.inc

$(BUILD)/gen/report_%.inc: $(REPORT_HTML)/bundle.% tools/embed.sh
	@mkdir -p $(@D)
	sh tools/embed.sh $< > $@.tmp && mv $@.tmp $@
$(BUILD)/analyzer/report/html_page.c.o: $(REPORT_GEN)

.PHONY: report-bundle
report-bundle:
	BUILD=$(BUILD) tools/bundle.sh $(REPORT_HTML)
