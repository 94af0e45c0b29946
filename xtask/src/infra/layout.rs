//! Where the charts of a dashboard are: inside of the grid, none on top of another, each with something in it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The kinds of layouts of which a dashboard of Cloud Monitoring has one.
const LAYOUTS: &[&str] = &["columnLayout", "gridLayout", "mosaicLayout", "rowLayout"];
/// What a widget may be beside its title.
const WIDGETS: &[&str] = &["pieChart", "scorecard", "sectionHeader", "text", "xyChart"];
/// How many columns Grafana has.
const GRAFANA_COLUMNS: u64 = 24;

#[derive(Debug, Clone, Copy)]
struct Tile {
    left: u64,
    top: u64,
    width: u64,
    height: u64,
}

/// The widgets of a dashboard of Cloud Monitoring.
///
/// # Errors
/// When the layout is not a mosaic, or not right.
pub fn of_cloud(dashboard: &Value) -> Result<Vec<&Value>> {
    let fields = dashboard.as_object().context("is no object")?;
    let layouts: Vec<_> = fields.keys().filter(|field| LAYOUTS.contains(&field.as_str())).collect();
    ensure!(layouts == ["mosaicLayout"], "has the layouts {layouts:?} and not one mosaicLayout");
    ensure!(dashboard["displayName"].as_str().is_some_and(|name| !name.is_empty()), "has no displayName");
    let mosaic = &dashboard["mosaicLayout"];
    let columns = mosaic["columns"].as_u64().context("mosaicLayout.columns is missing")?;
    let (mut tiles, mut widgets) = (Vec::new(), Vec::new());
    for tile in mosaic["tiles"].as_array().context("mosaicLayout.tiles is missing")? {
        let widget = &tile["widget"];
        let title = widget["title"].as_str().context("a widget has no title")?;
        let kinds = widget.as_object().context("a tile has no widget")?.keys().filter(|key| *key != "title");
        let kinds: Vec<&str> = kinds.map(String::as_str).collect();
        ensure!(
            matches!(kinds[..], [kind] if WIDGETS.contains(&kind)),
            "{title:?} is {kinds:?} and not one of {WIDGETS:?}"
        );
        for position in ["xPos", "yPos"] {
            // The API leaves a 0 out of what it gives back, and Terraform would see a change.
            ensure!(tile[position] != 0, "{title:?}: {position} of 0 is left out");
        }
        let number = |key: &str| tile[key].as_u64().unwrap_or(0);
        tiles.push((
            title,
            Tile { left: number("xPos"), top: number("yPos"), width: number("width"), height: number("height") },
        ));
        widgets.push(widget);
    }
    fits(&tiles, columns)?;
    Ok(widgets)
}

/// The panels of a dashboard of Grafana.
///
/// # Errors
/// When the layout is not right, or two panels have one id.
pub fn of_grafana(dashboard: &Value) -> Result<Vec<&Value>> {
    let panels = dashboard["panels"].as_array().context("has no panels")?;
    let mut ids = BTreeSet::new();
    let mut tiles = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().context("a panel has no title")?;
        let id = panel["id"].as_u64().with_context(|| format!("{title:?} has no id"))?;
        ensure!(ids.insert(id), "{title:?}: its id is another's");
        let charted = panel["targets"].as_array().is_some_and(|targets| !targets.is_empty());
        ensure!(charted || panel["type"] == "row", "{title:?} shows nothing");
        let number = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(0);
        tiles.push((title, Tile { left: number("x"), top: number("y"), width: number("w"), height: number("h") }));
    }
    fits(&tiles, GRAFANA_COLUMNS)?;
    Ok(panels.iter().collect())
}

fn fits(tiles: &[(&str, Tile)], columns: u64) -> Result<()> {
    ensure!(!tiles.is_empty(), "has no tiles");
    for (at, (title, tile)) in tiles.iter().enumerate() {
        ensure!(tile.width > 0 && tile.height > 0, "{title:?} has no size");
        ensure!(tile.left + tile.width <= columns, "{title:?} goes over the edge at {columns}");
        for (other, above) in &tiles[..at] {
            let beside = tile.left + tile.width <= above.left || above.left + above.width <= tile.left;
            let apart = tile.top + tile.height <= above.top || above.top + above.height <= tile.top;
            if !beside && !apart {
                bail!("{title:?} lies on {other:?}");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dashboard(tiles: &[Value]) -> Value {
        json!({"displayName": "d", "mosaicLayout": {"columns": 48, "tiles": tiles}})
    }

    fn tile(title: &str, position: &Value) -> Value {
        let mut tile = json!({"width": 24, "height": 8, "widget": {"title": title, "text": {"content": "t"}}});
        tile.as_object_mut().unwrap().extend(position.as_object().unwrap().clone());
        tile
    }

    #[test]
    fn tiles_side_by_side_fit() {
        let tiles = [tile("a", &json!({})), tile("b", &json!({"xPos": 24})), tile("c", &json!({"yPos": 8}))];
        assert_eq!(of_cloud(&dashboard(&tiles)).unwrap().len(), 3);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let a = tile("a", &json!({}));
        let wrong = [
            vec![],
            vec![a.clone(), tile("b", &json!({"xPos": 23}))],
            vec![tile("b", &json!({"xPos": 25}))],
            vec![tile("b", &json!({"xPos": 0}))],
            vec![tile("b", &json!({"height": 0}))],
            vec![tile("b", &json!({"widget": {"title": "b"}}))],
            vec![tile("b", &json!({"widget": {"title": "b", "text": {}, "xyChart": {}}}))],
        ];
        for tiles in wrong {
            assert!(of_cloud(&dashboard(&tiles)).is_err(), "{tiles:?}");
        }
        let mut two = dashboard(&[a]);
        two["gridLayout"] = json!({});
        assert!(of_cloud(&two).is_err());
    }
}
