//! Orders in a venue's words: read into the gate's own form, and written from that in the gate's own bytes.

use ringfence_model::trade::{
    AssetClass, BadAmount, CanonicalSymbol, Changes, ClientOrderId, CloseSize, Exit, OrderIntent, OrderType, Percent,
    Price, Pricing, Qty, Refusal, Rule, Side, Size, StopLoss, Structure, TimeInForce, Trail, Usd,
};

use super::fields::{FieldError, Fields, Value};
use super::venue::Venue;

/// A request that asks for a trade, as its client wrote it: what it is about may still be an asset's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// What is traded, in whatever spelling.
    pub(crate) symbol: String,
    intent: OrderIntent,
}

impl Draft {
    /// The order once it is known what it is about.
    pub(crate) fn about(self, symbol: CanonicalSymbol, asset_class: AssetClass) -> OrderIntent {
        OrderIntent { symbol, asset_class, ..self.intent }
    }
}

/// Reads messages of a venue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'v> {
    venue: &'v Venue,
}

/// What goes out in place of what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// Path and query.
    pub(crate) target: String,
    /// The body; empty for none.
    pub(crate) body: Vec<u8>,
}

type Read<T> = Result<T, Refusal>;

fn form(why: impl ToString) -> Refusal {
    Refusal::because(Rule::CanonicalForm, why.to_string())
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        form(error)
    }
}

impl<'v> Reading<'v> {
    /// Of this venue.
    pub(crate) fn of(venue: &'v Venue) -> Self {
        Self { venue }
    }

    /// The name of a field there.
    fn name(&self, ours: &str) -> &'v str {
        self.venue.order.get(ours).map_or("", String::as_str)
    }

    /// An order.
    pub(crate) fn submit(&self, fields: &Fields) -> Read<Draft> {
        if let Some(unknown) = fields.names().find(|name| !self.venue.order.values().any(|known| known == name)) {
            return Err(form(format!("`{unknown}` is no field of an order")));
        }
        let symbol = self.text(fields, "symbol")?.ok_or_else(|| form("it has no `symbol`"))?;
        let side: Side = self.word(fields, "side")?.ok_or_else(|| form("it has no `side`"))?;
        let class = self.text(fields, "order_class")?.unwrap_or_default();
        if class == "mleg" || fields.get(self.name("legs")).is_some() {
            return Err(Refusal::because(Rule::PermittedOrderClasses, "orders of several legs are not permitted"));
        }
        if fields.get(self.name("position_intent")).is_some() {
            return Err(form("`position_intent` is of options, which the gate does not trade"));
        }
        let amount = |name| self.amount(fields, name, Qty::parse);
        let notional = self.amount(fields, "notional", Usd::parse)?;
        let size = match (amount("qty")?, notional) {
            (Some(_), Some(_)) => return Err(form("it has both `qty` and `notional`")),
            (Some(qty), None) if qty.is_positive() => Size::Qty(qty),
            (None, Some(notional)) if notional.is_positive() => Size::Notional(notional),
            (None, None) => return Err(form("it has neither `qty` nor `notional`")),
            _ => return Err(form("it is for nothing")),
        };
        let structure = self.structure(fields, &class)?;
        let pricing = self.pricing(fields, &structure)?;
        let time_in_force: TimeInForce =
            self.word(fields, "time_in_force")?.ok_or_else(|| form("it has no `time_in_force`"))?;
        let client_order_id = self.client_order_id(fields)?;
        let intent = OrderIntent {
            // What it is about is filled in once it is known.
            symbol: CanonicalSymbol::parse("X").map_err(form)?,
            asset_class: self.venue.asset_class,
            side,
            size,
            pricing,
            time_in_force,
            structure,
            extended_hours: self.flag(fields, "extended_hours")?.unwrap_or(false),
            advanced_instructions: self.has(fields, "advanced_instructions"),
            client_order_id,
        };
        Ok(Draft { symbol, intent })
    }

    /// What a replacement changes. `trails` says in what the order trails that is replaced.
    pub(crate) fn changes(&self, fields: &Fields, trails_in_percent: bool) -> Read<Changes> {
        const CHANGEABLE: [&str; 6] = ["qty", "time_in_force", "limit_price", "stop_price", "trail", "client_order_id"];
        let known = CHANGEABLE.map(|name| self.name(name));
        if let Some(unknown) = fields.names().find(|name| !known.contains(name)) {
            return Err(form(format!("`{unknown}` is nothing that a replacement changes")));
        }
        let changes = Changes {
            qty: self.amount(fields, "qty", Qty::parse)?,
            time_in_force: self.word(fields, "time_in_force")?,
            limit: self.amount(fields, "limit_price", Price::parse)?,
            stop: self.amount(fields, "stop_price", Price::parse)?,
            trail: match trails_in_percent {
                true => self.amount(fields, "trail", Percent::parse)?.map(Trail::Percent),
                false => self.amount(fields, "trail", Price::parse)?.map(Trail::Price),
            },
            client_order_id: self.client_order_id(fields)?,
        };
        if changes.qty.is_some_and(|qty| !qty.is_positive()) {
            return Err(form("it is for nothing"));
        }
        Ok(changes)
    }

    /// How much of a position is closed, from the query.
    pub(crate) fn close_size(&self, query: &Fields) -> Read<CloseSize> {
        if let Some(unknown) = query.names().find(|name| !["qty", "percentage"].contains(name)) {
            return Err(form(format!("`{unknown}` is nothing that closing a position has")));
        }
        let qty = self.plain(query, "qty", Qty::parse)?;
        let percentage = self.plain(query, "percentage", Percent::parse)?;
        match (qty, percentage) {
            (Some(_), Some(_)) => Err(form("it has both `qty` and `percentage`")),
            (Some(qty), None) if qty.is_positive() => Ok(CloseSize::Qty(qty)),
            (None, Some(percentage)) if percentage.is_positive() => Ok(CloseSize::Percentage(percentage)),
            (None, None) => Ok(CloseSize::All),
            _ => Err(form("it is for nothing")),
        }
    }

    fn structure(&self, fields: &Fields, class: &str) -> Read<Structure> {
        let price = |name| self.amount(fields, name, Price::parse);
        let take_profit = price("take_profit_limit")?;
        let stop = price("stop_loss_stop")?;
        let limit = price("stop_loss_limit")?;
        let stop_loss = match (stop, limit) {
            (Some(stop), limit) => Some(StopLoss { stop, limit }),
            (None, Some(_)) => return Err(form("`stop_loss` has no `stop_price`")),
            (None, None) => None,
        };
        match (class, take_profit, stop_loss) {
            ("" | "simple", None, None) => Ok(Structure::Simple),
            ("" | "simple", _, _) => Err(form("an order with exits says in `order_class` which kind it is")),
            ("bracket", Some(take_profit), Some(stop_loss)) => Ok(Structure::Bracket { take_profit, stop_loss }),
            ("oco", Some(_), Some(stop_loss)) => Ok(Structure::Oco { stop_loss }),
            ("oto", Some(take_profit), None) => Ok(Structure::Oto(Exit::TakeProfit(take_profit))),
            ("oto", None, Some(stop_loss)) => Ok(Structure::Oto(Exit::StopLoss(stop_loss))),
            ("bracket" | "oco" | "oto", _, _) => {
                Err(form(format!("an order of class `{class}` has not the exits that belong to it")))
            }
            _ => Err(form("this is no `order_class`")),
        }
    }

    fn pricing(&self, fields: &Fields, structure: &Structure) -> Read<Pricing> {
        let price = |name| self.amount(fields, name, Price::parse);
        let kind: Option<OrderType> = self.word(fields, "type")?;
        let (limit, stop) = (price("limit_price")?, price("stop_price")?);
        let trail_percent = self.amount(fields, "trail_percent", Percent::parse)?;
        let trail = match (price("trail_price")?, trail_percent) {
            (Some(_), Some(_)) => return Err(form("it trails by a price and by a percentage")),
            (Some(price), None) => Some(Trail::Price(price)),
            (None, percent) => percent.map(Trail::Percent),
        };
        if self.has(fields, "trail") {
            return Err(form("`trail` is a field of replacements"));
        }
        if matches!(structure, Structure::Oco { .. }) {
            // The order itself is the one that takes the profit.
            let profit = price("take_profit_limit")?;
            return match (kind, profit, limit, stop, trail) {
                (None | Some(OrderType::Limit), Some(profit), limit, None, None)
                    if limit.is_none_or(|limit| limit == profit) =>
                {
                    Ok(Pricing::Limit { limit: profit })
                }
                _ => Err(form("an order of class `oco` is a limit with the price of its `take_profit`")),
            };
        }
        match (kind, limit, stop, trail) {
            (None, ..) => Err(form("it has no `type`")),
            (Some(OrderType::Market), None, None, None) => Ok(Pricing::Market),
            (Some(OrderType::Limit), Some(limit), None, None) => Ok(Pricing::Limit { limit }),
            (Some(OrderType::Stop), None, Some(stop), None) => Ok(Pricing::Stop { stop }),
            (Some(OrderType::StopLimit), Some(limit), Some(stop), None) => Ok(Pricing::StopLimit { stop, limit }),
            (Some(OrderType::TrailingStop), None, None, Some(trail)) => Ok(Pricing::TrailingStop { trail }),
            (Some(kind), ..) => Err(form(format!("an order of type `{kind}` has not the prices that belong to it"))),
        }
    }

    fn client_order_id(&self, fields: &Fields) -> Read<Option<ClientOrderId>> {
        match self.text(fields, "client_order_id")?.filter(|id| !id.is_empty()) {
            Some(id) => ClientOrderId::parse(&id).map(Some).map_err(form),
            None => Ok(None),
        }
    }

    fn has(&self, fields: &Fields, name: &str) -> bool {
        fields.get(self.name(name)).is_some()
    }

    fn text(&self, fields: &Fields, name: &str) -> Read<Option<String>> {
        match fields.get(self.name(name)) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(form(format!("`{name}` is not a text"))),
        }
    }

    fn flag(&self, fields: &Fields, name: &str) -> Read<Option<bool>> {
        match fields.get(self.name(name)) {
            None => Ok(None),
            Some(Value::Bool(yes)) => Ok(Some(*yes)),
            Some(_) => Err(form(format!("`{name}` is neither true nor false"))),
        }
    }

    fn word<T: std::str::FromStr<Err = ringfence_model::trade::BadName>>(
        &self,
        fields: &Fields,
        name: &str,
    ) -> Read<Option<T>> {
        let Some(text) = self.text(fields, name)? else { return Ok(None) };
        let text = match self.venue.words.get(&text) {
            Some(ours) => ours,
            // A venue with words of its own has no others: ours would be a second spelling.
            None if self.venue.words.is_empty() => &text,
            None => return Err(form(format!("`{text:.40}` is no `{}` that the gate judges", self.name(name)))),
        };
        text.parse().map(Some).map_err(|error: ringfence_model::trade::BadName| form(error))
    }

    fn amount<T>(&self, fields: &Fields, name: &str, parse: fn(&str) -> Result<T, BadAmount>) -> Read<Option<T>> {
        self.plain(fields, self.name(name), parse)
    }

    fn plain<T>(&self, fields: &Fields, name: &str, parse: fn(&str) -> Result<T, BadAmount>) -> Read<Option<T>> {
        match fields.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => parse(text).map(Some).map_err(|error| form(format!("in `{name}`: {error}"))),
            Some(_) => Err(form(format!("`{name}` is not a number"))),
        }
    }
}

impl Written {
    /// Without a body.
    pub(crate) fn plain(target: impl Into<String>) -> Self {
        Self { target: target.into(), body: vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::venue::Venues;
    use super::*;

    fn read(body: &str) -> Read<OrderIntent> {
        let venues = Venues::built_in();
        let alpaca = venues.named("alpaca").expect("it is there");
        let draft = Reading::of(alpaca).submit(&Fields::of_json(body.as_bytes())?)?;
        let symbol = CanonicalSymbol::parse(&draft.symbol).map_err(form)?;
        Ok(draft.about(symbol, AssetClass::UsEquity))
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let simple = r#""symbol":"AAPL","qty":1.50,"side":"buy","time_in_force":"day""#;
        for rest in [
            r#""type":"market""#,
            r#""type":"limit","limit_price":"10.01","extended_hours":true"#,
            r#""type":"stop","stop_price":9"#,
            r#""type":"stop_limit","stop_price":9,"limit_price":8.5"#,
            r#""type":"trailing_stop","trail_percent":"1.5""#,
            r#""type":"trailing_stop","trail_price":2,"client_order_id":"mine-1""#,
            r#""type":"market","order_class":"bracket","take_profit":{"limit_price":12},"stop_loss":{"stop_price":8,"limit_price":"7.9"}"#,
            r#""type":"limit","order_class":"oco","take_profit":{"limit_price":12},"stop_loss":{"stop_price":8}"#,
            r#""type":"market","order_class":"oto","take_profit":{"limit_price":12}"#,
            r#""type":"market","order_class":"oto","stop_loss":{"stop_price":12}"#,
            r#""type":"market","order_class":"simple","legs":null"#,
        ] {
            let intent = read(&format!("{{{simple},{rest}}}")).expect(rest);
            let written = super::super::alpaca::submit(&intent);
            let again = read(std::str::from_utf8(&written.body).expect("JSON")).expect("its own bytes");
            assert_eq!(again, intent, "{rest}");
        }
        let notional = r#"{"symbol":"AAPL","notional":"100.5","side":"sell","type":"market","time_in_force":"day"}"#;
        assert_eq!(read(notional).expect("an order").size, Size::Notional(Usd::parse("100.5").expect("an amount")));
    }

    #[test]
    fn what_is_no_order_is_refused_with_what_is_wrong() {
        #[track_caller]
        fn check(fields: &str, rule: Rule, words: &str) {
            let body = format!(
                "{{\"symbol\":\"AAPL\",\"side\":\"buy\",\"type\":\"market\",\"time_in_force\":\"day\",{fields}}}"
            );
            let refusal = read(&body).expect_err(fields);
            assert_eq!(refusal.rule, rule, "{refusal}");
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
        let form = Rule::CanonicalForm;
        check(r#""qty":1,"notional":5"#, form, "both `qty` and `notional`");
        check(r#""x":1"#, form, "`x` is no field");
        check(r#""qty":"-1""#, form, "digits");
        check(r#""qty":-1"#, form, "digits");
        check(r#""qty":1e3"#, form, "digits");
        check(r#""qty":"NaN""#, form, "digits");
        check(r#""qty":"+1""#, form, "digits");
        check(r#""qty":"01""#, form, "digits");
        check(r#""qty":"1,5""#, form, "digits");
        check(r#""qty":"0""#, form, "nothing");
        check(r#""qty":true"#, form, "not a number");
        check(r#""qty":1.0000000001"#, form, "too many digits");
        check(r#""qty":99999999999999"#, form, "too large");
        check(r#""qty":1,"qty":1"#, form, "twice");
        check(r#""qty":1,"limit_price":5"#, form, "prices");
        check(r#""qty":1,"stop_loss":{"limit_price":5}"#, form, "stop_price");
        check(r#""qty":1,"take_profit":{"limit_price":5}"#, form, "order_class");
        check(r#""qty":1,"take_profit":{"limit_price":5,"more":1}"#, form, "take_profit.more");
        check(r#""qty":1,"order_class":"bracket""#, form, "exits");
        check(r#""qty":1,"order_class":"mleg""#, Rule::PermittedOrderClasses, "legs");
        check(r#""qty":1,"legs":[]"#, Rule::PermittedOrderClasses, "legs");
        check(r#""qty":1,"extended_hours":"yes""#, form, "true nor false");
        check(r#""qty":1,"client_order_id":"a b""#, form, "client order id");
        check(r#""qty":1,"position_intent":"buy_to_open""#, form, "options");
    }
}
